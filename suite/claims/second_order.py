"""Section 8.6.1: Newton's method."""

from __future__ import annotations

from collections.abc import Sequence

from problems.bounds import Count, NonNegative, Positive
from suite.claims.base import Experiment, Observation, claim, exactly, share, typical
from suite.claims.lab import Lab, arm
from suite.claims.tuning import against, named

FAR = 1000.0  # times the most negative eigenvalue: an α that leaves nothing of the curvature


@claim(section="8.6.1", source="Deep Learning, equation 8.27", control="optimizer='gradient_descent'")
def newton_jumps(optimizer: str = "newton(alpha=0)", size: Count = 64) -> Experiment:
    """Newton's method jumps to the minimum of a positive definite quadratic in one step.

    One step on ½θᵀQθ of condition 1000 in float64; the control takes one of steepest descent with a line search.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        asked = arm(f"quadratic(size={size})", optimizer, steps=1, eval_every=1, dtype="float64")
        [[(_, start), (_, end)]] = lab.train({"": asked}, 1)[""].course("train_loss")
        return [exactly("loss after one step / before", end / start, below=1e-20)]

    return experiment


@claim(section="8.6.1", source="Deep Learning, section 8.6.1", control="problem='quadratic'")
def newton_needs_iterations(
    problem: str = "digits_logistic(decay=0.01)", optimizer: str = "newton(alpha=0)", steps: Count = 10
) -> Experiment:
    """Where a convex loss is not quadratic, Newton's method has to be applied again and again, with new Hessians.

    Gradient norms in float64 from the default start: one step leaves more than 10⁻⁶ of it; each of the
    following has the Hessian at its own point, and after 10 in all less than 10⁻¹⁰ is left. On the control,
    a quadratic, the first jump is enough.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        from suite.claims.paths import gradients, visited

        path = visited(problem, optimizer, steps)
        start, first, last = gradients(problem, path[[0, 1, -1]]).norm(dim=1).tolist()
        return [
            exactly("gradient after one step / before", first / start, above=1e-6),
            exactly(f"gradient after {steps} steps / before", last / start, below=1e-10),
        ]

    return experiment


@claim(section="8.6.1", source="Deep Learning, sections 8.6.1 and 8.2.3; Dauphin et al. 2014", control="alpha=3")
def newton_seeks_saddles(alpha: NonNegative = 0.0, problem: str = "saddle") -> Experiment:
    """Near a saddle Newton's method moves in the wrong direction: to the saddle, not away from it.

    One step on x₁² − x₂² from (1, 0.001): along x₁ both lead to the saddle, along x₂ down is away from it. The
    control adds an α that offsets the eigenvalue of −2.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        from suite.claims.paths import visited

        before, after = visited(problem, f"newton(alpha={alpha})", 1)[:, 1].abs().tolist()
        return [exactly("distance along the direction of negative curvature, after / before", after / before, below=1)]

    return experiment


@claim(
    section="8.6.1",
    source="Deep Learning, section 8.6.1; Dauphin et al. 2014",
    control="optimizer='saddle_free_newton(alpha=1e-3)'",
)
def newton_ends_at_saddles(
    optimizer: str = "newton(alpha=0)", problem: str = "linear_net", steps: Count = 20, seeds: Count = 12
) -> Experiment:
    """Near a saddle point of a net Newton's method converges to it, uphill, as if it were a minimum.

    A deep linear net from small weights, which lie near the saddle at 0, in float64: to converge is to have a gradient
    below 10⁻⁶ of the first. (From Glorot's, which do not lie near, its steps go anywhere.) The control takes |λ| in
    place of each eigenvalue λ of the Hessian.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        from suite.claims.paths import gradients, losses, visited

        ends = [visited(problem, optimizer, steps, seed)[[0, -1]] for seed in lab.seeds(seeds)]
        slopes = [gradients(problem, pair).norm(dim=1).tolist() for pair in ends]
        heights = [losses(problem, pair) for pair in ends]
        return [
            typical(f"gradient after {steps} steps / before", [last / first for first, last in slopes], below=1e-6),
            typical(f"loss after {steps} steps / before", [last / first for first, last in heights], above=1),
        ]

    return experiment


@claim(section="8.6.1", source="Deep Learning, equation 8.28", control="factor=0.5")
def regularized_newton_descends(
    factor: Positive = 1.1, problem: str = "digits_mlp(hidden=4)", seeds: Count = 9
) -> Experiment:
    """Adding αI to the Hessian turns Newton's steps downhill, if α offsets the most negative eigenvalue.

    At the starts of a small net, with α = ``factor`` times the size of the most negative eigenvalue: what the step
    does along that eigenvector, where −g points downhill. The control does not offset the eigenvalue.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        found = [_along_lowest(problem, factor, seed) for seed in lab.seeds(seeds)]
        return [share("starts at which the step goes down along the lowest eigenvector", found, above=0.5)]

    return experiment


def _along_lowest(problem: str, factor: float, seed: int) -> bool:
    """Whether a step with so large an α goes downhill along the eigenvector of the least eigenvalue."""
    from suite.claims.paths import eigen, gradients, visited

    [start] = visited(problem, "sgd", 0, seed)
    values, vectors = eigen(problem, start)
    [g] = gradients(problem, start[None])
    path = visited(problem, f"newton(alpha={factor * abs(float(values[0]))})", 1, seed)
    return bool((path.diff(dim=0)[0] @ vectors[:, 0]) * (g @ vectors[:, 0]) < 0)


@claim(section="8.6.1", source="Deep Learning, section 8.6.1", control="factor=0.5")
def regularized_newton_is_gradient_descent(
    factor: Positive = FAR, problem: str = "digits_mlp(hidden=4)", seeds: Count = 9
) -> Experiment:
    """With an α that is large beside the eigenvalues Newton's steps become those of gradient descent divided by α.

    At the starts of a small net, with α = 1000 times the largest |eigenvalue|: the angle between step and −g, and the
    step's length relative to ‖g‖/α. The control has an α that is half of that eigenvalue.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        cosines, lengths = zip(*(_beside_gradient(problem, factor, seed) for seed in lab.seeds(seeds)), strict=True)
        return [
            typical("cosine of the angle to −g", cosines, above=0.99),
            typical("length / (‖g‖/α)", lengths, above=0.99, below=1.01),
        ]

    return experiment


def _beside_gradient(problem: str, factor: float, seed: int) -> tuple[float, float]:
    """The cosine between a step and −g, and its length in units of ‖g‖/α."""
    from suite.claims.paths import eigen, gradients, visited

    [start] = visited(problem, "sgd", 0, seed)
    alpha = factor * float(eigen(problem, start)[0].abs().max())
    [g] = gradients(problem, start[None])
    step = visited(problem, f"newton(alpha={alpha})", 1, seed).diff(dim=0)[0]
    return float(-(step @ g) / (step.norm() * g.norm())), float(step.norm() * alpha / g.norm())


@claim(section="8.6", source="Martens & Grosse 2015", control="optimizer='sgd'")
def kfac_gets_further(
    optimizer: str = "kfac", problems: str = "digits_denoising, digits_deep_mlp", steps: Count = 100, seeds: Count = 12
) -> Experiment:
    """K-FAC, which approximates curvature layer by layer, gets further in as many steps than SGD with momentum.

    Nets on digits, both tuned by their rate, on the problem's minibatches: the loss in the last quarter of 100 steps. A
    step of K-FAC costs more, which is not counted. The control has SGD in its place.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        found = {each: against(lab, each, (optimizer, "momentum"), steps, seeds) for each in named(problems)}
        return [typical(f"{each}: loss with it / with momentum", pair, below=1) for each, pair in found.items()]

    return experiment
