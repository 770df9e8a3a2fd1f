"""What a run sums up: the loss above the least that theory gives, and which data it saw."""

from __future__ import annotations

import pytest

from problems import digests, problem
from suite.runner import train_group
from suite.spec import Run


def trained(text: str, optimizer: str, **settings):
    results = []
    train_group([Run.make(text, optimizer, batch_size=0, **settings)], results.append)
    assert results[0].status == "done", results[0].detail
    return results[0].summary


def test_linear_regression_reaches_its_closed_form_optimum() -> None:
    least = problem.build(problem.bind("linear_regression")).minimum.loss
    found = trained("linear_regression", "sgd(lr=0.1)", steps=300, eval_every=300, dtype="float64")
    assert -1e-12 * least <= found["final_train_excess"] < 1e-9 * least  # to rounding
    assert found["final_train_loss"] == pytest.approx(least, rel=1e-9)


def test_an_autoencoder_comes_as_close_to_pca_as_it_trains() -> None:
    least = problem.build(problem.bind("digits_autoencoder(hidden=(8,))")).minimum.loss
    found = trained("digits_autoencoder(hidden=(8,))", "lbfgs", steps=150, eval_every=150, dtype="float64")
    assert 0 <= found["final_train_excess"] < 1e-3 * least


def test_a_least_loss_of_0_has_nothing_to_add() -> None:
    assert "final_train_excess" not in trained("coupled_pair", "sgd", steps=2)


def test_a_result_names_the_content_of_its_data() -> None:
    one, exact, other = (
        trained(f"linear_regression(features=3, data_seed={seed})", "sgd", steps=1, dtype=dtype)
        for seed, dtype in ((0, "float32"), (0, "float64"), (1, "float32"))
    )
    made = problem.build(problem.bind("linear_regression(features=3)"))
    for name, split in made.splits.items():
        assert one[f"{name}_data"] == exact[f"{name}_data"] == split.fingerprint != other[f"{name}_data"]


def test_groups_of_runs_on_the_same_data_read_it_once(monkeypatch) -> None:
    first = trained("digits_mlp", "sgd", steps=1)
    monkeypatch.setattr(digests, "_with", lambda state, tensor: pytest.fail("the digits are read again"))
    for dtype in ("float32", "float64"):
        again = trained("digits_mlp", "momentum", steps=1, dtype=dtype)
        assert {again[f"{name}_data"] == first[f"{name}_data"] for name in ("train", "valid", "test")} == {True}
