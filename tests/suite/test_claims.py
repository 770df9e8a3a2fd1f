"""Claims: what follows from observations, how they are carried out, and what every one of them must have."""

from __future__ import annotations

import inspect
import json
import math
import re
import textwrap

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import suite.claims
from suite.claims import claim, exactly, share, typical
from suite.claims.base import VERDICTS, judged, level_of
from suite.claims.carrying import control, load
from suite.claims.lab import ExperimentError, Lab, arm, differences, ratios, slope
from suite.claims_command import asked
from suite.cli import cli

values = st.lists(st.floats(-5, 5), min_size=1, max_size=20)
OWN = '''
from suite.claims import claim, typical
from suite.claims.lab import arm, ratios

@claim(section="4.3", source="mine", control="lr=1e-9")
def falls(lr: float = 0.1, problem: str = "linear_regression"):
    """Gradient descent lowers the loss."""
    def experiment(lab):
        runs = lab.train({"": arm(problem, f"sgd(lr={lr})", steps=20, eval_every=20)}, 8)[""]
        return [typical("loss after / before", [c[-1][1] / c[0][1] for c in runs.course("train_loss")], below=0.9)]
    return experiment
'''


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return f"{path}:falls"


def invoke(*words: object):
    """In this process, unless ``--jobs`` is among the words."""
    return CliRunner().invoke(cli, ["claims", "--jobs", "1", *map(str, words)])


# verdicts ---------------------------------------------------------------------------------


def test_an_interval_that_touches_a_bound_does_not_hold() -> None:
    same = typical("ratio", [1.0] * 12, below=1)
    assert same.verdict(0.95) == "does not hold"
    assert typical("ratio", [0.9] * 12, below=1).verdict(0.95) == "holds"
    assert typical("ratio", [0.5] * 6 + [2.0] * 6, below=1).verdict(0.95) == "undecided"
    assert typical("ratio", [0.5] * 3, below=1).verdict(0.95) == "undecided"  # three support no interval


def test_runs_that_never_arrive_are_values_like_others() -> None:
    assert typical("ratio", [math.inf] * 9, above=2).verdict(0.95) == "holds"
    assert typical("ratio", [math.inf] * 9, below=2).verdict(0.95) == "does not hold"


def test_shares_and_exact_values() -> None:
    assert share("trained", [True] * 12, above=0.5).verdict(0.95) == "holds"
    assert share("trained", [True] * 4, above=0.5).verdict(0.95) == "undecided"  # 40 to 100 %
    assert share("trained", [True, False] * 2, above=0.5).shown(0.95) == "2 of 4 [7 to 93 %]"
    assert exactly("loss", 1e-30, below=1e-20).verdict(0.95) == "holds"
    assert exactly("loss", 1e-20, below=1e-20).verdict(0.95) == "does not hold"


@given(st.lists(values, min_size=1, max_size=4), st.floats(-4, 3), st.floats(0.5, 4))
def test_a_claim_holds_only_if_all_of_it_does_and_fails_if_any_does(samples, above, width) -> None:
    found = [typical("x", sample, above=above, below=above + width) for sample in samples]
    each = [one.verdict(level_of(found)) for one in found]
    assert (judged(found) == "holds") == all(v == "holds" for v in each)
    assert (judged(found) == "does not hold") == ("does not hold" in each)
    assert judged(found) in VERDICTS


def test_a_claim_of_two_observations_needs_more_certainty_of_each() -> None:
    found = [typical("x", [1.0] * 5, above=0), typical("y", [1.0] * 5, above=0)]
    assert level_of(found) == 0.975
    assert judged(found[:1]) == "holds" and judged(found) == "undecided"  # five hold 93.75 %


@pytest.mark.parametrize("wrong", [{}, {"above": 2, "below": 1}])
def test_a_claim_says_where_a_quantity_lies(wrong) -> None:
    with pytest.raises(ValueError, match="x: above must be less than below"):
        typical("x", [1.0], **wrong)
    with pytest.raises(ValueError, match="x: one value of each seed"):
        typical("x", [math.nan], above=0)


def test_ratios_of_what_never_arrived_tell_nothing_apart() -> None:
    assert ratios([1, math.inf, math.inf, 0, 1], [2, math.inf, 3, 0, 0]) == [0.5, 1, math.inf, 1, math.inf]
    assert differences([1, math.inf], [3, math.inf]) == [-2, 0]
    assert slope([1, 10, 100], [2, 20 * 10**0.5, 2000]) == pytest.approx(1.5)


# carrying out -----------------------------------------------------------------------------


def test_a_claim_of_ones_own_is_carried_out_and_kept(own, tmp_path) -> None:
    results = tmp_path / "results"
    shown = invoke(own, "--results", results)
    assert shown.exit_code == 0, shown.output
    assert (
        re.search(r"(?m)^holds +\S+mine.py:falls  4\.3$", shown.stdout)
        and "Gradient descent lowers the loss" in shown.stdout
    )
    assert "1 claim: 1 holds" in shown.stdout
    [kept] = load(results)
    assert kept["verdict"] == "holds" and len(kept["observations"][0]["values"]) == 8
    assert len(list((results / "claims" / "runs").iterdir())) == 8
    told = json.loads(invoke(own, "--results", results, "--json", "--quiet").stdout)
    assert told["claims"][0]["observations"][0]["values"] == kept["observations"][0]["values"]


def test_the_example_of_the_package(tmp_path) -> None:
    lines = inspect.getdoc(suite.claims).split("::", 1)[1].splitlines()
    example = "\n".join(line for line in lines if line.startswith("    ") or not line)
    (tmp_path / "mine.py").write_text(textwrap.dedent(example))
    shown = invoke(f"{tmp_path}/mine.py:averages_help(seeds=8)", "--controls", "--results", tmp_path / "r")
    assert shown.exit_code == 0 and "control, decay=0: does not hold" in shown.stdout, shown.output


def test_its_control_does_not_hold(own, tmp_path) -> None:
    shown = invoke(own, "--results", tmp_path / "results", "--controls")
    assert shown.exit_code == 0 and "control, lr=1e-9: does not hold" in shown.stdout
    [kept] = load(tmp_path / "results")
    assert kept["verdict"] == "holds" and kept["control"]["observations"][0]["value"] == pytest.approx(1)


def test_a_control_that_holds_is_an_error(own, tmp_path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OWN.replace("lr=1e-9", "lr=0.2"))
    shown = invoke(own, "--results", tmp_path / "results", "--controls")
    assert shown.exit_code == 1 and "x control, lr=0.2: holds" in shown.stdout


def test_several_claims_share_the_processes(tmp_path) -> None:
    one, two = "newton_jumps(size=4)", "newton_jumps(size=5)"
    shown = invoke(one, two, "--jobs", 2, "--results", tmp_path, "--json")
    assert shown.exit_code == 0, shown.output
    assert [each["claim"] for each in json.loads(shown.stdout)["claims"]] == [one, two]
    assert [each["verdict"] for each in load(tmp_path)] == ["holds", "holds"]


def test_an_experiment_that_cannot_be_carried_out_is_told_and_not_kept(own, tmp_path) -> None:
    shown = invoke(f"{own}(problem=cifar100_3c3d)", "newton_jumps(size=4)", "--results", tmp_path / "r")
    assert shown.exit_code == 1 and "1 failed" in shown.stdout and "1 holds" in shown.stdout
    assert "Traceback" not in shown.output
    assert [each["name"] for each in load(tmp_path / "r")] == ["newton_jumps"]


def test_mistakes_are_told_before_anything_is_trained(tmp_path) -> None:
    wrong = invoke("newton_jump", "--results", tmp_path / "r")
    assert wrong.exit_code == 2 and "did you mean newton_jumps?" in wrong.output
    wrong = invoke("newton_jumps(size=0)", "--results", tmp_path / "r")
    assert wrong.exit_code == 2 and "newton_jumps: size must be >= 1, got 0" in wrong.output
    wrong = invoke("newton_jumps", "--section", "8.2", "--results", tmp_path / "r")
    assert wrong.exit_code == 2 and "none is of section '8.2'; they are of 8.6.1" in wrong.output
    assert not (tmp_path / "r").exists()


def test_sections_take_in_those_within_them() -> None:
    assert {claim.find(spec.name).meta["section"][:3] for spec in asked("all", "8.6")} == {"8.6"}
    assert [spec.name for spec in asked("newton_jumps", "8.6.1")] == ["newton_jumps"]


def test_a_failed_run_says_nothing_of_a_claim(tmp_path) -> None:
    asked = arm("digits_mlp", "coordinate_descent", "fixup", steps=1)
    with pytest.raises(ExperimentError, match=r"digits_mlp.* skipped: "):
        Lab(str(tmp_path)).train({"": asked}, 1)


def test_other_seeds_give_other_runs(own, tmp_path) -> None:
    for seed in ("0", "100"):
        assert invoke(own, "--results", tmp_path / seed, "--seed", seed).exit_code == 0
    (one,), (other,) = (load(tmp_path / seed) for seed in ("0", "100"))
    assert (one["seed"], other["seed"]) == (0, 100)
    assert not set(one["observations"][0]["values"]) & set(other["observations"][0]["values"])
    found = Lab(str(tmp_path), seed=7).tune({"": arm("linear_regression", "sgd", steps=20)}, 3, trials=4)[""]
    assert [each.run.seed for each in found] == [7, 8, 9]


def test_a_tuned_arm_is_tuned_on_seeds_of_its_own(tmp_path) -> None:
    found = Lab(str(tmp_path)).tune({"": arm("linear_regression", "sgd", steps=20)}, 3, trials=4)[""]
    assert [each.run.seed for each in found] == [0, 1, 2]
    assert len({each.run.optimizer for each in found}) == 1


# every one of them ------------------------------------------------------------------------


@pytest.mark.parametrize("name", claim.names())
def test_every_claim_says_what_it_is_and_has_a_control(name) -> None:
    entry = claim.find(name)
    words = (inspect.getdoc(entry.factory) or "").split("\n\n")
    assert len(words) >= 2 and "control" in " ".join(words[1:]), "the experiment and its control, in words"
    assert re.fullmatch(r"8\.[1-7](\.\d)?", entry.meta["section"]) and entry.meta["source"]
    bound = claim.bind(name)
    assert control(bound) != bound
