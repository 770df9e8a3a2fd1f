"""Claims of sections 8.1 and 8.2, and what their experiments measure by."""

from __future__ import annotations

import pytest
import torch

from suite.claims import claim
from suite.claims.batches import _held_out, _perceptron
from suite.claims.carrying import carry_out, control
from suite.claims.courses import by_target, drawn, each_gradient, made_of, objective, over_examples, trained
from suite.claims.hardships import _factor, _reach
from suite.claims.lab import Lab, arm
from suite.claims.surfaces import _share

QUICK = [
    "standard_error_root_n(seeds=8, problem='digits_logistic')",
    "hidden_units_are_interchangeable(width=2)",
    "newton_is_drawn_to_saddles(seeds=8)",
    "saddle_free_newton_escapes(seeds=12)",
    "powers_of_the_recurrent_matrix(seeds=10)",
    "gates_keep_gradients(seeds=8)",
    "wrong_side_of_the_mountain(seeds=8, steps=300)",
]


@pytest.mark.parametrize("text", QUICK)
def test_quick_claims_hold_and_their_controls_do_not(text, tmp_path) -> None:
    found = carry_out(claim.bind(text), str(tmp_path))
    assert found["verdict"] == "holds", found
    other = carry_out(control(claim.bind(text)), str(tmp_path))
    assert other["verdict"] in ("does not hold", "undecided"), other


def test_a_course_is_that_of_a_run(tmp_path) -> None:
    made = made_of("digits_mlp", "float32")
    course = trained(made, ["sgd(lr=0.1)", "sgd(lr=0.2)"], drawn(made, [0, 1]), [0, 3, 5])
    assert sorted(course.points) == [0, 3, 5] and course.losses.shape == (5, 2)
    for lane, rate in enumerate((0.1, 0.2)):
        asked = arm("digits_mlp", f"sgd(lr={rate})", steps=5, eval_every=5, probes="loss")
        losses = Lab(str(tmp_path)).train({"": asked}, lane + 1)[""].course("minibatch_loss")[lane]
        assert [value for _, value in losses] == pytest.approx(course.losses[:, lane].tolist(), rel=1e-5)


def test_gradients_of_examples_average_to_the_gradient() -> None:
    made = made_of("digits_logistic")
    [theta] = drawn(made, [0])
    each = each_gradient(made, theta)
    assert each.shape == (len(made.train), made.size)
    torch.testing.assert_close(each.mean(0), objective(made, theta).gradient())


def test_examples_in_the_order_of_their_targets() -> None:
    made = made_of("digits_mlp")
    ordered = over_examples(made, by_target(made)).train.tensors[1]
    assert (ordered.diff() >= 0).all() and (ordered.bincount() == made.train.tensors[1].bincount()).all()


def test_the_perceptrons_criterion_is_that_of_one_margin() -> None:
    outputs, labels = torch.randn(50, 10, dtype=torch.float64), torch.arange(50) % 10
    expected = torch.nn.functional.multi_margin_loss
    others = outputs.clone()
    others[torch.arange(50), labels] = -torch.inf
    wrong = torch.stack([others.amax(1), outputs[torch.arange(50), labels]], 1)
    two = expected(wrong, torch.ones(50, dtype=torch.int64), margin=0.0) * 2  # a mean over two outputs
    torch.testing.assert_close(_perceptron(outputs, (outputs, labels)), two)


def test_held_out_examples_count_alike() -> None:
    made = made_of("digits_mlp")
    found = {"valid_accuracy": [0.5, 0], "test_accuracy": [1.0, 1]}
    assert _held_out(made, found, "accuracy") == [0.75, 0.5]  # 300 of each


def test_the_reach_of_inputs_is_that_of_finite_differences() -> None:
    made = made_of("adding_rnn(length=6, hidden=3, sequences=32)")
    pieces = made.layout.split(drawn(made, [0])[0])
    x, y = made.train.tensors
    moved, step = x[:32].clone(), 1e-6
    moved[:, 4, 0] += step
    slope = (made.outputs(pieces, (moved, y[:32])) - made.outputs(pieces, (x[:32], y[:32]))).squeeze() / step
    moved = x[:32].clone()
    moved[:, 4, 1] += step
    other = (made.outputs(pieces, (moved, y[:32])) - made.outputs(pieces, (x[:32], y[:32]))).squeeze() / step
    torch.testing.assert_close(_reach(made, pieces)[4], torch.stack([slope, other]).norm(), rtol=1e-4, atol=0)


def test_a_recurrent_matrix_of_one_unit_passes_on_its_weight() -> None:
    made = made_of("adding_rnn(length=60, hidden=1, sequences=32)")
    [theta] = drawn(made, [3], "gaussian(std=0.2)")
    assert _factor(made, theta, 0.9, 1e-9) == pytest.approx(0.9, rel=1e-6)


def test_shares_of_eigenvalues_leave_zeros_out() -> None:
    saddle = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for sign in ("negative", "positive"):
        assert _share(made_of("monkey_saddle"), 0 * saddle, sign) == 0
        assert _share(made_of("monkey_saddle"), saddle, sign) == 0.5
    start = made_of("quadratic(size=4)")
    assert _share(start, torch.ones(4, dtype=torch.float64), "positive") == 1
    assert _share(start, torch.ones(4, dtype=torch.float64), "negative") == 0
