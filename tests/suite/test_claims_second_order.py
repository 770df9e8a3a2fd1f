"""Claims of section 8.6: those without chance, and what they measure with."""

from __future__ import annotations

import pytest
import torch

from problems.problem import problem
from suite.claims import claim
from suite.claims.carrying import carry_out
from suite.claims.conjugate import _at_least, _cosines, apart, gradients_to_target
from suite.claims.lab import Lab, arm
from suite.claims.paths import eigen, gradients, losses, visited
from suite.claims.quasi_newton import _bytes
from suite.claims.sharpness import sharpness

EXACT = (
    "newton_jumps(size=8)",
    "newton_seeks_saddles",
    "newton_ends_at_saddles(seeds=8)",
    "steepest_descent_zigzags",
    "conjugate_directions",
    "conjugate_gradients_take_n_searches",
    "beta_formulas_agree",
    "bfgs_is_cg_on_quadratics",
    "lbfgs_needs_less_memory",
)


@pytest.mark.parametrize("text", EXACT)
def test_claims_without_chance_hold_and_their_controls_do_not(text, tmp_path) -> None:
    found = carry_out(claim.bind(text), str(tmp_path), controls=True)
    assert found["verdict"] == "holds", found
    assert found["control"]["verdict"] == "does not hold", found


def test_points_losses_gradients_and_eigenvalues_of_a_quadratic_are_those_of_its_matrix() -> None:
    made = problem.build(problem.bind("quadratic(size=6, condition=10)"))
    q = made.fixed["Q"].double()
    q = (q + q.T) / 2
    path = visited("quadratic(size=6, condition=10)", "sgd(lr=0.5)", 2)
    torch.testing.assert_close(path[1], path[0] - 0.5 * q @ path[0])
    torch.testing.assert_close(gradients("quadratic(size=6, condition=10)", path), path @ q)
    assert losses("quadratic(size=6, condition=10)", path) == pytest.approx([float(0.5 * x @ q @ x) for x in path])
    values, vectors = eigen("quadratic(size=6, condition=10)", path[0])
    torch.testing.assert_close(values, torch.logspace(-1, 0, 6, dtype=torch.float64), rtol=1e-5, atol=0)
    torch.testing.assert_close(vectors @ values.diag() @ vectors.T, q)


def test_another_start_is_another_path() -> None:
    one, other = (visited("linear_net", "sgd", 0, 0, start) for start in ("default", "glorot_normal"))
    assert not torch.equal(one, other)


def test_cosines_and_distances_of_paths() -> None:
    way = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    assert _cosines(way, 1).tolist() == pytest.approx([0.0, 0.8]) and _cosines(way, 2).tolist() == pytest.approx([0.6])
    path = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 4.0]])
    assert apart(path, path + torch.tensor([2.0, 0.0])) == 0.5


def test_runs_go_on_until_they_have_cost_enough(tmp_path) -> None:
    found = _at_least(Lab(str(tmp_path)), arm("rosenbrock", "gradient_descent"), 100, 10, 2)
    assert min(found.counted("gradient")) >= 100 and found[0].run.steps > 10


def test_states_are_counted_in_bytes() -> None:
    assert _bytes("bfgs", 64) >= 4 * 64**2
    assert 4 * 2 * 5 * 64 <= _bytes("lbfgs(memory=5)", 64) < 4 * 64**2


def test_gradients_are_counted_until_the_target_and_are_infinite_where_it_is_not_met(tmp_path) -> None:
    met, missed = (arm("rosenbrock", "bfgs", steps=n, eval_every=1, until_target=True) for n in (100, 3))
    found = Lab(str(tmp_path)).train({"met": met, "missed": missed}, 1)
    assert gradients_to_target(found["met"]) == found["met"].counted("gradient")
    assert gradients_to_target(found["missed"]) == [float("inf")]


def test_the_sharpness_of_a_quadratic_is_its_largest_eigenvalue() -> None:
    assert sharpness("quadratic(size=6)", "sgd(lr=0.1)", 3, 0) == pytest.approx(1, rel=1e-5)
