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
    """At all of eight seeds, each at the best of four rates. From He's draw, made for ReLU, SGD trains it too."""
    made = problem.build(problem.bind("digits_deep_mlp(depth=19, width=16)"))
    rates, seeds = (0.3, 0.1, 0.03, 0.01), range(8)
    specs = [optimizer.bind(f"sgd(lr={rate})") for _ in seeds for rate in rates]
    hints = "hints(digits_mlp(hidden=(64,)), initializer=glorot_uniform, teacher_steps=500, steps=1500)"
    best = {}
    for start in ("glorot_uniform", hints):
        drawn = [initializer.build(initializer.bind(start))(made, torch.Generator().manual_seed(s)) for s in seeds]
        theta = torch.stack(drawn).repeat_interleave(len(rates), 0)
        lanes = lanes_of(made, specs, theta, [s for s in seeds for _ in rates], 32, "reshuffle")
        for step in range(2500):
            lanes.step(step)
        reached = torch.stack([made.measure(lane, made.valid.tensors)["accuracy"] for lane in lanes.theta])
        best[start] = reached.view(len(seeds), len(rates)).amax(1)
        print(f"\n{start}: {best[start].median():.3f} of", *(f"{a:.3f}" for a in sorted(best[start].tolist())), end="")
    assert best["glorot_uniform"].median() < 0.4 and best[hints].median() > 0.75
    assert best[hints].min() > best["glorot_uniform"].max()


@pytest.mark.slow
def test_a_linear_net_of_a_thousand_layers_trains_from_a_random_walk_and_from_gains_5_percent_off_it_does_not():
    """Sussillo & Abbott 2014, of whose g = e^(1/(2m)) the 1000th power matters: 0.95 vanishes and 1.05 explodes.

    Their first gradients, about 1e−25 and infinite in float32, leave Adam nothing to go by at any common rate.
    At this width g = 1 differs from theirs by 0.4 % and trains too, in over twice the steps. The logarithm of the
    signal's length still wanders by √(1000/(2·128)) ≈ 2, so other draws take more steps than the 60 here.
    """
    made = problem.build(problem.bind("linear_net(depth=1000, hidden=128, strongest=1)"))
    starts = ("random_walk", "random_walk(gain=0.95)", "random_walk(gain=1.05)")
    drawn = [initializer.build(initializer.bind(start))(made, torch.Generator().manual_seed(0)) for start in starts]
    specs = [optimizer.bind("adam(lr=1e-5)")] * len(starts)
    lanes = lanes_of(made, specs, torch.stack(drawn), [0] * len(starts), 0, "reshuffle")
    of_zero = 0.5 * float(made.train.tensors[1].square().sum(1).mean())  # the loss of a map of 0
    for step in range(61):
        left = (lanes.step(step) / of_zero).tolist()
    print("\nloss after 60 steps over that of a map of 0:", dict(zip(starts, left, strict=True)))
    assert left[0] < 0.65
    assert not any(loss < 0.99 for loss in left[1:])


@pytest.mark.slow
def test_a_tanh_net_of_a_thousand_layers_learns_digits_from_a_random_walk_and_from_gains_off_it_it_does_not():
    """From orthogonal matrices scaled so that gradients neither grow nor shrink (g is 1.04), at every seed tried.

    Off it are gains 5 % below and 10 % above, and the starts that suit shallow nets. Of Gaussian matrices at
    their own balance hardly a direction is left after a thousand layers of 32: such nets tell one class or two.
    """
    made = problem.build(problem.bind("digits_deep_mlp(depth=1000, width=32, activation=tanh)"))
    walk = "random_walk(initializer=orthogonal)"
    off = [f"random_walk(initializer=orthogonal, gain={g})" for g in (0.99, 1.15)] + ["glorot_uniform", "he_normal"]
    starts = [*((walk, seed) for seed in range(5)), *((start, 0) for start in off)]
    drawn = [initializer.build(initializer.bind(s))(made, torch.Generator().manual_seed(k)) for s, k in starts]
    specs = [optimizer.bind("adam(lr=3e-5)")] * len(starts)
    lanes = lanes_of(made, specs, torch.stack(drawn), [seed for _, seed in starts], 32, "reshuffle")
    for step in range(100):
        lanes.step(step)
    accuracy = [float(made.measure(lane, made.valid.tensors)["accuracy"]) for lane in lanes.theta]
    print("\nvalidation accuracy of a thousand layers after 100 steps")
    print(*(f"{start:52} seed {seed}  {a:.3f}" for (start, seed), a in zip(starts, accuracy, strict=True)), sep="\n")
    assert min(accuracy[:5]) > 0.75
    assert max(accuracy[5:]) < 0.4
