"""Section 8.6.3: BFGS and L-BFGS."""

from __future__ import annotations

from collections.abc import Sequence

from problems.bounds import Count, Fraction
from suite.claims.base import Experiment, Observation, claim, exactly, typical
from suite.claims.conjugate import EXACT, apart, gradients_to_target
from suite.claims.lab import Lab, arm, ratios, slope

SIZES = (64, 128, 256, 512)
ROUNDING = 1e-20  # of the first loss: what is below says nothing of how fast it falls


@claim(
    section="8.6.3",
    source="Deep Learning, section 8.6.3; Dennis & Moré 1974",
    control="optimizer='gradient_descent'",
)
def bfgs_is_superlinear(optimizer: str = "bfgs", problem: str = "rosenbrock(size=4)", steps: Count = 200) -> Experiment:
    """BFGS has some of the advantages of Newton's method: near a minimum each step leaves an ever smaller share.

    Loss above the minimum in float64, of the last step before rounding beside the one before, which has to be less
    than a hundredth: superlinear. The control is steepest descent, whose share is the same from step to step.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        from suite.claims.paths import losses, visited

        found = losses(problem, visited(problem, optimizer, steps))
        seen = [loss for loss in found if loss > ROUNDING * found[0]]
        return [exactly("loss after the last step / before", seen[-1] / seen[-2], below=0.01)]

    return experiment


@claim(section="8.6.3", source="Nazareth 1979; Deep Learning, section 8.6.3", control="problem='rosenbrock(size=8)'")
def bfgs_is_cg_on_quadratics(problem: str = "quadratic(size=16, condition=100)", steps: Count = 12) -> Experiment:
    """With exact line searches BFGS goes through the same points as conjugate gradients on a quadratic.

    Paths in float64 from one start: the largest distance of their points, relative to that from the start to the first
    path's end. The control is no quadratic.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        from suite.claims.paths import visited

        one, other = (visited(problem, text, steps) for text in ("bfgs(search=exact)", EXACT))
        return [exactly("distance of the paths / way", apart(one, other), below=1e-6)]

    return experiment


@claim(section="8.6.3", source="Deep Learning, section 8.6.3", control="optimizer='conjugate_gradients'")
def bfgs_takes_loose_searches(
    optimizer: str = "bfgs",
    problem: str = "digits_autoencoder(hidden=(8,))",
    loose: Fraction = 0.9,
    tight: Fraction = 0.1,
    steps: Count = 300,
    seeds: Count = 12,
) -> Experiment:
    """Unlike conjugate gradients, BFGS does not need line searches that find the minimum, so it spends less on them.

    Gradients until the problem's target, with searches that stop where the slope along the line is 0.9 of
    what it was, relative to those that go on to 0.1. The control takes conjugate gradients, of which it must not hold.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        arms = {
            c: arm(
                problem,
                f"{optimizer}(curvature={c})",
                steps=steps,
                eval_every=1,
                until_target=True,
                dtype="float64",
            )
            for c in (loose, tight)
        }
        found = lab.train(arms, seeds)
        cost = {c: gradients_to_target(runs) for c, runs in found.items()}
        return [typical("gradients with loose searches / with tight ones", ratios(cost[loose], cost[tight]), below=1)]

    return experiment


@claim(section="8.6.3", source="Deep Learning, section 8.6.3", control="limited='bfgs'")
def lbfgs_needs_less_memory(limited: str = "lbfgs(memory=5)") -> Experiment:
    """BFGS stores a matrix, O(n²), while L-BFGS, which keeps some vectors, has storage of O(n).

    The bytes of their states for quadratics of 64 to 512 dimensions: the power of n that they grow by. The control
    holds BFGS for L-BFGS.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        full = slope(SIZES, [_bytes("bfgs", n) for n in SIZES])
        small = slope(SIZES, [_bytes(limited, n) for n in SIZES])
        return [
            exactly("power of n of BFGS's memory", full, above=1.9, below=2.1),
            exactly("power of n of L-BFGS's memory", small, above=0.9, below=1.1),
        ]

    return experiment


def _bytes(optimizer: str, size: int) -> int:
    """What an optimizer keeps from one step to the next, of a quadratic."""
    import torch

    from problems.problem import problem as problems
    from suite.lanes import lanes_of
    from suite.optimizers import optimizer as optimizers
    from suite.stepping import held

    made = problems.build(problems.bind(f"quadratic(size={size})"))
    lanes = lanes_of(made, [optimizers.bind(optimizer)], torch.ones(1, size), [0], 0, "sequential")
    lanes.step(0)
    return sum(tensor.numel() * tensor.element_size() for tensor in held(lanes.state))


@claim(section="8.6.3", source="Liu & Nocedal 1989; Deep Learning, section 8.6.3", control="most=1")
def lbfgs_memory_saves_steps(
    least: Count = 1,
    most: Count = 20,
    problem: str = "digits_autoencoder(hidden=(8,))",
    steps: Count = 300,
    seeds: Count = 12,
) -> Experiment:
    """L-BFGS with more vectors knows more of the Hessian: it takes fewer steps with 20 pairs than with one.

    Steps to the problem's target on the full batch. The control has one pair in both.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        arms = {
            key: arm(problem, f"lbfgs(memory={m})", steps=steps, eval_every=1, until_target=True, dtype="float64")
            for key, m in {"most": most, "least": least}.items()
        }
        found = lab.train(arms, seeds)
        pair = ratios(found["most"].steps_to_target(), found["least"].steps_to_target())
        return [typical(f"steps with {most} pairs / with {least}", pair, below=1)]

    return experiment
