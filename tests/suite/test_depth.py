"""What a start does for nets of any depth: steps until a deep linear net has learned its map."""

from __future__ import annotations

import pytest
import torch

from problems import problem
from suite.initializers import initializer
from suite.lanes import lanes_of
from suite.optimizers import optimizer

DEPTHS, MOST = (3, 10, 30, 100), 150


def steps_to_learn(depth, start):
    """Full-batch steps until the loss is a thousandth of that of a map of 0, at the best of six rates; or None."""
    made = problem.build(problem.bind(f"linear_net(depth={depth}, hidden=64, strongest=1)"))
    theta = initializer.build(initializer.bind(start))(made, torch.Generator().manual_seed(0))
    specs = [optimizer.bind(f"sgd(lr={2.0**-i / depth})") for i in range(-1, 5)]
    lanes = lanes_of(made, specs, theta.expand(len(specs), -1), [0] * len(specs), 0, "reshuffle")
    goal = 1e-3 * 0.5 * float(made.train.tensors[1].square().sum(1).mean())
    return next((step for step in range(MOST) if (lanes.step(step) <= goal).any()), None)


def test_with_orthogonal_weights_depth_costs_no_steps_with_small_gaussian_ones_it_does():
    """Saxe et al. 2013: as many steps at every depth, at rates in proportion to 1/depth."""
    found = {start: [steps_to_learn(d, start) for d in DEPTHS] for start in ("orthogonal", "gaussian(std=0.05)")}
    print("\nlayers              ", *(f"{depth:>6}" for depth in DEPTHS), "  steps to a thousandth of the loss")
    for start, steps in found.items():
        print(f"{start:20}", *(f"{step or '>' + str(MOST):>6}" for step in steps))
    orthogonal, gaussian = found.values()
    assert None not in orthogonal and max(orthogonal) <= 1.5 * min(orthogonal) + 1
    assert gaussian[0] is not None and gaussian[1:] == [None] * 3


@pytest.mark.slow
def test_a_thin_net_of_19_layers_that_sgd_cannot_train_from_a_draw_trains_after_hints():
    made = problem.build(problem.bind("digits_deep_mlp(depth=19, width=16)"))
    specs = [optimizer.bind(f"sgd(lr={rate})") for rate in (0.3, 0.1, 0.03, 0.01)]
    best = {}
    hints = "hints(digits_mlp(hidden=(64,)), initializer=glorot_uniform, teacher_steps=500, steps=1500)"
    for start in ("glorot_uniform", hints):
        theta = initializer.build(initializer.bind(start))(made, torch.Generator().manual_seed(0))
        lanes = lanes_of(made, specs, theta.expand(len(specs), -1), [0] * len(specs), 32, "reshuffle")
        for step in range(1100):
            lanes.step(step)
        best[start] = max(float(made.measure(lane, made.valid.tensors)["accuracy"]) for lane in lanes.theta)
    print("\nvalidation accuracy at the best of four rates:", best)
    assert best["glorot_uniform"] < 0.2 and best[hints] > 0.6
