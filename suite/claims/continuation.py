"""Section 8.7.6: continuation methods and curricula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from problems.bounds import Count, Natural, Positive
from problems.names import Spec, parse
from suite.claims.base import Experiment, Observation, claim, share, typical
from suite.claims.designs import TASKS, tuned
from suite.claims.lab import Lab, Runs, arm, differences, ratios


def blurred(problem: str, sigma: float, steps: int, samples: int = 1) -> str:
    """A problem's text with a blur of its loss that shrinks from sigma to 0 over so many steps."""
    options = (("sigma", sigma), ("steps", steps), ("stages", 20), ("samples", samples))
    return str(Spec("continuation", (parse(problem),), options))


def blurring(lab: Lab, problem: str, sigma: float, steps: int, lr: float, seeds: int, samples: int = 1) -> list[Runs]:
    """With and without a blur that is gone after half of so many steps, at one rate."""
    options: dict[str, Any] = {"steps": steps, "eval_every": steps, "dtype": "float64"}
    smooth = blurred(problem, sigma, steps // 2, samples)
    arms = {text: arm(text, f"sgd(lr={lr})", **options) for text in (smooth, problem)}
    return list(lab.train(arms, seeds).values())


@claim(
    section="8.7.6",
    source="Deep Learning, section 8.7.6; Mobahi & Fisher 2015",
    control=f"problem='{TASKS}:plain_bowl'",
)
def continuation_past_minima(
    problem: str = f"{TASKS}:rastrigin",
    sigma: Positive = 1,
    samples: Count = 16,
    lr: Positive = 0.002,
    seeds: Count = 20,
) -> Experiment:
    """Among local minima, descent on a loss that is blurred ever less ends in a lower one than on the loss itself.

    Rastrigin's function of two variables from anywhere in its box, with one local minimum per unit square; 4000 steps,
    of which the first 2000 have a blur from σ = 1 on, against as many without, which end long before. A step's blur is
    a mean over 16 draws: of fewer the noise alone takes θ from basin to basin. The share of starts that end in the
    lowest one, at a loss below 0.5, and the loss less that without a blur. The control's function has no other minima.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        found = blurring(lab, problem, sigma, 4000, lr, seeds, samples)
        smooth, plain = (runs.final("train_loss") for runs in found)
        return [
            share("starts that end in the lowest basin", [loss < 0.5 for loss in smooth], above=0.5),
            typical("loss − that without a blur", differences(smooth, plain), below=0),
        ]

    return experiment


@claim(section="8.7.6", source="Deep Learning, section 8.7.6", control="sigma=0.001")
def continuation_off_plateaus(
    problem: str = f"{TASKS}:plateau", sigma: Positive = 3, lr: Positive = 1, seeds: Count = 20
) -> Experiment:
    """Blurring a loss takes its flat regions away, so that descent leaves them.

    1 − exp(−½θ²) from 6 on, where its slope is 10⁻⁷; 2000 steps, the first 1000 with a blur from σ = 3 on. The share
    of starts that end at a loss below 0.1, with the blur and without. The control's blur is too narrow to reach the
    slope.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        smooth, plain = (runs.final("train_loss") for runs in blurring(lab, problem, sigma, 2000, lr, seeds))
        return [
            share("starts that leave the plateau with a blur", [loss < 0.1 for loss in smooth], above=0.5),
            share("starts that leave it without", [loss < 0.1 for loss in plain], below=0.5),
        ]

    return experiment


@claim(section="8.7.6", source="Deep Learning, section 8.7.6", control="sigma=0.001")
def continuation_misled(
    problem: str = f"{TASKS}:narrow_and_wide", sigma: Positive = 2, lr: Positive = 0.05, seeds: Count = 20
) -> Experiment:
    """Blurred losses may lead to a minimum that is not the lowest: one that is wide in place of one that is deep.

    A narrow well of depth 1 beside a wide one of depth ½, from within the narrow one; 3000 steps, the first 1500 with a
    blur from σ = 2 on. The share of starts that end in the narrow well, with the blur and without. The control's blur
    is narrower than either well.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        smooth, plain = (runs.final("train_loss") for runs in blurring(lab, problem, sigma, 3000, lr, seeds))
        return [
            share("starts that end in the deep well with a blur", [loss < 0.25 for loss in smooth], below=0.5),
            share("starts that end in it without", [loss < 0.25 for loss in plain], above=0.5),
        ]

    return experiment


@claim(section="8.7.6", source="Deep Learning, section 8.7.6", control="sigma=1e-6")
def continuation_on_nets(
    problem: str = "digits_deep_mlp", sigma: Positive = 0.05, steps: Count = 600, seeds: Count = 15
) -> Experiment:
    """Continuation helps to train nets too, of which local minima are not the main difficulty.

    600 steps of SGD at the best of 11 rates, the first 300 on a loss blurred with σ from 0.05 on, a fifth of the
    initial weights; final training loss against that without a blur. The control's blur is none to speak of.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        nets = (blurred(problem, sigma, steps // 2), problem)
        found = [tuned(lab, {"": (net, "sgd", "default")}, seeds, steps=steps)[0].final("train_loss") for net in nets]
        return [typical("training loss with continuation / without", ratios(*found), below=1)]

    return experiment


ADDING = "adding_lstm(length=20, shortest=4, sequences=2048)"


def steps_to_learn(lab: Lab, problems: Sequence[str], lr: float, seeds: int) -> list[list[float]]:
    """Steps of Adam until nine of ten sums are right, over the whole validation split, on each problem."""
    options: dict[str, Any] = {"steps": 1000, "eval_every": 25, "until_target": True}
    found = lab.train({text: arm(text, f"adam(lr={lr})", **options) for text in dict.fromkeys(problems)}, seeds)
    return [found[text].steps_to_target() for text in problems]


def taught(problem: str, kind: str, steps: int) -> str:
    """A problem's text with a curriculum; steps of 0 for none."""
    return str(Spec("curriculum", (parse(problem),), (("kind", kind), ("steps", steps)))) if steps else problem


@claim(
    section="8.7.6",
    source="Deep Learning, section 8.7.6; Bengio et al. 2009; Zaremba & Sutskever 2014",
    control="easy_steps=0",
)
def curriculum_speeds(
    problem: str = ADDING, easy_steps: Natural = 300, lr: Positive = 0.003, seeds: Count = 10
) -> Experiment:
    """Easy examples first speed up learning.

    An LSTM that adds two of 4 to 20 values, short sequences first for 300 steps by a stochastic curriculum; steps of
    Adam until nine of ten sums over all lengths are right against those without. Both go by one rate, that which the
    problem's own target was found by, without a curriculum; no rate was tuned for one. Weak evidence either way: 350 to
    550 steps are enough without, so that little is left to speed up. The control has no curriculum.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        course, plain = steps_to_learn(lab, (taught(problem, "stochastic", easy_steps), problem), lr, seeds)
        return [typical("steps with a curriculum / without", ratios(course, plain), below=1)]

    return experiment


@claim(section="8.7.6", source="Deep Learning, section 8.7.6; Zaremba & Sutskever 2014", control="kind='deterministic'")
def curriculum_mixes(
    problem: str = ADDING,
    kind: str = "stochastic",
    easy_steps: Count = 300,
    lr: Positive = 0.003,
    seeds: Count = 10,
) -> Experiment:
    """A curriculum that always mixes easy and difficult examples is better than one that goes from easy to difficult.

    As ``curriculum_speeds``: steps with a stochastic curriculum, in which the share of all lengths rises over 300
    steps, against those with a deterministic one, in which the greatest length does. The control has the deterministic
    one in both.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        texts = [taught(problem, each, easy_steps) for each in (kind, "deterministic")]
        mixed, ordered = steps_to_learn(lab, texts, lr, seeds)
        return [typical("steps with the stochastic / with the deterministic one", ratios(mixed, ordered), below=1)]

    return experiment
