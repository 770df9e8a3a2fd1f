"""Section 8.4: parameters that begin where something else was learned, and what a start does to generalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from problems.bounds import Count, Natural, Positive
from suite.claims.base import Experiment, Observation, claim, typical
from suite.claims.lab import Lab, Runs, arm, differences, ratios
from suite.spec import Result


def arrival(runs: Runs, counted: bool) -> list[float]:
    """Steps to the problem's target, with those that the start took or without."""
    spent = [float(each.summary.get("start_steps", 0)) if counted else 0.0 for each in runs]
    return [steps + own for steps, own in zip(runs.steps_to_target(), spent, strict=True)]


@claim(section="8.4", source="Deep Learning, section 8.4; Vincent et al. 2008", control="pretraining=0")
def unsupervised_starts(
    pretraining: Natural = 500,
    problem: str = "digits_mlp(hidden=(64, 64))",
    optimizer: str = "sgd",
    steps: Count = 400,
    counted: bool = False,
    seeds: Count = 15,
) -> Experiment:
    """From what it learned without labels on the same inputs a net may learn its task faster than from a draw.

    Steps to the problem's target after greedy pretraining as denoising autoencoders, 500 steps for each hidden layer,
    against those from the draw that it began with; each at the best of 11 rates. Steps of pretraining count only with
    ``counted=True``. The control pretrains for 0 steps.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        return [_faster(lab, problem, optimizer, f"pretraining(steps={pretraining})", steps, counted, seeds)]

    return experiment


@claim(section="8.4", source="Deep Learning, section 8.4; Yosinski et al. 2014", control="training=0")
def related_starts(
    training: Natural = 400,
    source: str = "adding_rnn(length=6, sequences=2048)",
    problem: str = "adding_rnn(length=12, sequences=2048)",
    optimizer: str = "adam",
    steps: Count = 400,
    counted: bool = False,
    seeds: Count = 15,
) -> Experiment:
    """From parameters learned on a related task training may converge faster than from a draw.

    Steps to the target of adding two numbers in sequences of 12, from what 400 steps on sequences of 6 leave of the
    recurrent layer, against those from a draw; each at the best of 11 rates. (Of sequences of 20, most draws learn
    nothing in as many steps.) Steps on the other task count only with ``counted=True``. The control takes 0 of them.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        start = f"transfer({source}, optimizer=adam(lr=0.003), steps={training})"
        return [_faster(lab, problem, optimizer, start, steps, counted, seeds)]

    return experiment


def _faster(lab: Lab, problem: str, optimizer: str, start: str, steps: int, counted: bool, seeds: int) -> Observation:
    arms = {key: arm(problem, optimizer, text, steps=steps) for key, text in (("learned", start), ("drawn", "default"))}
    found = lab.tune(arms, seeds)
    return typical(
        "steps to the target / from a draw",
        ratios(arrival(found["learned"], counted), arrival(found["drawn"], counted)),
        below=1,
    )


@claim(section="8.4", source="Deep Learning, section 8.4", control="large=0.1")
def starts_generalize_differently(
    small: Positive = 0.05,
    large: Positive = 2.0,
    problem: str = "digits_mlp(hidden=(128,))",
    optimizer: str = "adam(lr=0.003)",
    steps: Count = 3000,
    seeds: Count = 12,
) -> Experiment:
    """Points of comparable cost generalize differently, and where training begins decides among them.

    3000 steps of Adam from N(0, 0.05²) and from N(0, 2²), enough to fit all training examples: accuracy on these,
    which should differ by half a point at most, and on the test split, where the smaller should be two points ahead.
    (After 2000 steps the larger still missed a few.) The control takes N(0, 0.1²) for the larger.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        options: dict[str, Any] = {"steps": steps, "eval_every": steps}
        arms = {std: arm(problem, optimizer, f"gaussian(std={std})", **options) for std in (small, large)}
        found = lab.train(arms, seeds)
        fit, test = (
            differences(*(found[std].final(f"{split}_accuracy") for std in (small, large)))
            for split in ("train", "test")
        )
        return [
            typical("training accuracy from small weights less from large", fit, -0.005, 0.005),
            typical("test accuracy from small weights less from large", test, above=0.02),
        ]

    return experiment


@claim(section="8.4", source="Deep Learning, section 8.4; Mishkin & Matas 2015", control="steps=1")
def criteria_do_not_last(
    initializer: str = "lsuv(he_normal)",
    problem: str = "digits_deep_mlp(depth=6)",
    optimizer: str = "sgd(lr=0.1)",
    steps: Count = 600,
    seeds: Count = 12,
) -> Experiment:
    """What a start imposes on a net may not last once it has begun to learn.

    Every hidden layer's sums have a standard deviation near 1 at the start, by LSUV; the largest of five layers'
    against the smallest, on minibatches of 128 before the first of 600 steps of SGD and before the last. The control
    takes one step.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        options: dict[str, Any] = {"steps": steps, "eval_every": steps, "batch_size": 128}
        asked = arm(problem, optimizer, initializer, probes=f"activations(every={max(1, steps - 1)})", **options)
        spreads = [_spreads(each) for each in lab.train({"": asked}, seeds)[""]]
        return [
            typical("largest deviation / smallest, at the start", [first for first, _ in spreads], below=1.25),
            typical("largest deviation / smallest, at the end", [last for _, last in spreads], above=1.5),
        ]

    return experiment


def _spreads(result: Result) -> tuple[float, float]:
    """The largest layer's standard deviation of sums over the smallest's, at the first measurement and at the last."""
    layers = [course for name, course in result.probed.items() if name.startswith("activation_std/")]
    first, last = ([course[at][1] for course in layers] for at in (0, -1))
    return max(first) / min(first), max(last) / min(last)
