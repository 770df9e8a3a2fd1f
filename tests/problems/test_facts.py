"""What ``facts.json`` says of each problem, against the problem."""

from __future__ import annotations

import pytest

from problems import facts, problem

HINT = "python -m problems.facts writes the file anew"
BUILT_IN = [entry for entry in problem if entry.factory.__module__.startswith("problems.")]
DEFAULTS = [entry.name for entry in BUILT_IN if not any(p.required for p in entry.parameters)]


def heavy(name: str) -> bool:
    return problem.find(name).meta.get("data") not in (None, "digits", "california")


def test_every_problem_with_defaults_is_told_of_and_no_other() -> None:
    assert sorted(facts.known()) == sorted(DEFAULTS), HINT


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if heavy(n) else n for n in DEFAULTS])
def test_what_is_told_is_so(name: str) -> None:
    found = facts.made_here(problem.find(name))
    if found is None:
        pytest.skip(f"{name} needs the data set {problem.find(name).meta['data']}, which is not on this machine")
    told = dict(facts.known()[name])
    assert told["parameters"] == found["parameters"] and told["examples"] == found["examples"], HINT
    assert (told["minimum"] is None) == (found["minimum"] is None), HINT
    assert told["minimum"] is None or told["minimum"] == pytest.approx(found["minimum"], rel=1e-4), HINT
    if found["target"] is None:
        assert told["target"] is None, HINT
        return
    assert told["target"]["value"] == pytest.approx(found["target"]["value"], rel=1e-4), HINT
    assert all(told["target"][key] == found["target"][key] for key in ("measure", "better", "origin")), HINT
