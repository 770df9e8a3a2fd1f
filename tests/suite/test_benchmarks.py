"""What asv follows: every optimizer of the suite, on names that there are."""

from __future__ import annotations

import pytest

from problems.names import parse
from suite.benchmarks import instructions
from suite.benchmarks.cases import OPTIMIZERS, UPDATES, make, update
from suite.benchmarks.instructions import CASES as CASES_OF_INSTRUCTIONS
from suite.benchmarks.instructions import Instructions
from suite.benchmarks.quick import CASES, Update
from suite.optimizers import optimizer
from suite.spec import Run

NOT_FOLLOWED = {  # and why
    "blocks": "what it costs and reaches is its inner optimizer's",
    "coordinate_descent": "one coordinate at a step gets nowhere in a few hundred steps",
    "gradient_noise": "random by intent",
}


def _names(text):
    spec = parse(text)
    return {spec.name, *(inner.name for inner in (*spec.args, *spec.options.values()) if hasattr(inner, "name"))}


def test_convergence_is_followed_for_every_optimizer():
    followed = {name for _, text, _ in CASES.values() for name in _names(text)}
    missing = {entry.name for entry in optimizer} - followed - set(NOT_FOLLOWED)
    assert not missing, f"add {sorted(missing)} to suite/benchmarks/quick.py, or say here why not"


@pytest.mark.parametrize("case", CASES)
def test_every_case_can_be_asked_for(case):
    problem, text, settings = CASES[case]
    assert Run.make(problem, text, **settings).steps == settings["steps"]


def test_an_update_of_more_arithmetic_counts_more():
    counted = Update()
    counts = {name: counted.track_kernels(name) for name in ("sgd", "momentum", "adam")}
    assert 1 <= counts["sgd"] < counts["momentum"] < counts["adam"]
    assert counted.track_operations("sgd") <= counts["sgd"]
    assert set(UPDATES) >= set(counts) and update("sgd", 10).theta.shape == (1, 10)


def test_a_device_that_is_not_here_is_skipped():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(NotImplementedError, match="no CUDA device"):
        make("digits_mlp", OPTIMIZERS[0], device="cuda")


def test_instructions_are_counted_for_the_cases_that_are_known_and_others_skipped_with_the_reason(
    monkeypatch, tmp_path
):
    known, other = CASES_OF_INSTRUCTIONS[:2]
    counting = Instructions()
    assert counting.track_instructions({known: 12.0}, known) == 12.0
    counting.setup({known: 12.0}, known)
    monkeypatch.setattr(instructions, "missing", lambda: "")
    with pytest.raises(NotImplementedError, match=f"{other} is not known"):
        counting.setup({known: 12.0}, other)
    monkeypatch.undo()
    monkeypatch.setattr(instructions.shutil, "which", lambda name: None)
    assert counting.setup_cache() == {}
    with pytest.raises(NotImplementedError, match="no valgrind"):
        counting.setup({}, known)
    (tmp_path / "out.1").write_text("# callgrind format\nevents: Ir\nsummary: 420\n\ntotals: 420\n")
    assert instructions._total(tmp_path / "out.1") == 420
