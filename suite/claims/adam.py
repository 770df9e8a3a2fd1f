"""Section 8.5.3: Adam, its bias corrections, its defaults, and what later work found of it."""

from __future__ import annotations

from collections.abc import Sequence

from problems.bounds import Count, Fraction, Positive
from problems.names import parse
from suite.claims.base import Experiment, Observation, claim, exactly, typical
from suite.claims.lab import Lab, ratios
from suite.claims.tuning import OWN, changed, late, named, short, tuned

RATE = 0.001  # Adam's default


@claim(section="8.5.3", source="Deep Learning, section 8.5.3; Kingma & Ba 2015", control="correct=False")
def adam_first_step(correct: bool = True, rho1: Fraction = 0.9, rho2: Fraction = 0.999) -> Experiment:
    """Adam's bias corrections account for moments that begin at the origin: its first step is as long as the rate.

    A step to gradients from 10⁻³ to 10³, in each coordinate relative to the rate. The control leaves the corrections
    out: then the first step is (1 − ρ₁)/√(1 − ρ₂) rates long.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        import torch

        from suite.claims.paths import answers

        given = torch.logspace(-3, 3, 13, dtype=torch.float64)[None]
        steps = answers(f"adam(lr={RATE}, rho1={rho1}, rho2={rho2}, correct={correct})", given)[0].abs() / RATE
        return [
            exactly("shortest first step / rate", float(steps.min()), above=0.999, below=1.001),
            exactly("longest first step / rate", float(steps.max()), above=0.999, below=1.001),
        ]

    return experiment


@claim(section="8.5.3", source="Deep Learning, section 8.5.3", control="optimizer='adam(lr=1, rho1=0, rho2=0.99)'")
def rmsprop_biased_early(
    optimizer: str = "rmsprop(lr=1, rho=0.99)", memory: Count = 100, seeds: Count = 15
) -> Experiment:
    """RMSProp's estimate of the second moment has a high bias early in training, as it lacks Adam's correction.

    Gradients from N(0, 1) in 1000 coordinates, so that the second moment is 1. The estimate r is read off the
    steps, (εg/Δ)²; early is within a tenth of the memory 1/(1 − ρ), late after ten of them. High is: by more
    than half. The control is Adam without a first moment, which corrects.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        import torch

        from suite.claims.paths import answers

        source = torch.Generator().manual_seed(lab.seed)
        given = torch.randn(11 * memory, seeds * 1000, generator=source, dtype=torch.float64)
        r = (given / answers(optimizer, given)).square().unflatten(1, (seeds, 1000)).mean(2)
        early, after = r[: max(memory // 10, 1)].mean(0), r[10 * memory :].mean(0)
        return [
            typical("estimate early / second moment", early.tolist(), below=0.5),
            typical("estimate late / second moment", after.tolist(), above=0.9, below=1.1),
        ]

    return experiment


@claim(section="8.5.3", source="Deep Learning, section 8.5.3; Kingma & Ba 2015", control="settings='lr'")
def adam_is_robust(
    settings: str = "rho1, rho2",
    optimizer: str = "adam",
    problem: str = "digits_denoising",
    factor: Positive = 3.0,
    steps: Count = 400,
    seeds: Count = 15,
) -> Experiment:
    """Adam is fairly robust to the choice of its hyperparameters, the rate apart.

    With the best rate, the memories 1/(1 − ρ) of both moments in turn are made threefold and a third. Robust means: the
    loss is less than a tenth higher for it, of a net where it stays well above 0 (where it vanishes, as on
    ``digits_mlp``, ratios of losses tell nothing). The control changes the rate as much.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        best = tuned(lab, {"": short(problem, optimizer, steps)}, 1)[""][0].run.optimizer
        spec = parse(best)
        arms = {
            f"{name} {number:.4g}": short(problem, str(spec.replace(**{name: number})), steps)
            for name in settings.split(", ")
            for number in changed(optimizer, name, spec.options[name], factor)
        }
        found = lab.train({**arms, "": short(problem, best, steps)}, OWN + seeds)
        losses = {key: late(runs)[OWN:] for key, runs in found.items()}
        usual = losses.pop("")
        return [typical(f"loss with {key} / as tuned", ratios(of, usual), below=1.1) for key, of in losses.items()]

    return experiment


@claim(section="8.5.3", source="Deep Learning, section 8.5.3", control="rate=1.0")
def adam_rate_needs_change(
    rate: Positive = RATE,
    problems: str = "digits_mlp, digits_denoising, digits_deep_mlp, digits_autoencoder, digits_logistic",
    within: Positive = 0.05,
    steps: Count = 1000,
    seeds: Count = 11,
) -> Experiment:
    """Adam's learning rate sometimes has to be changed from the suggested default.

    The loss at the default rate, relative to that at the rate that is best for the problem: on the problem where that
    is largest it is more than 5 % above, and on the one where it is least it is not, for sometimes is more than never
    and less than always. The control has a default that is good for none.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        import statistics

        found = {}
        for each in named(problems):
            best = late(tuned(lab, {"": short(each, "adam", steps)}, seeds)[""])
            usual = late(lab.train({"": short(each, f"adam(lr={rate})", steps)}, OWN + seeds)[""])[OWN:]
            found[each] = ratios(usual, best)
        ordered = sorted(found, key=lambda each: statistics.median(found[each]))
        least, most = ordered[0], ordered[-1]
        what = "loss at the default rate / at the best, {}"
        return [
            typical(what.format(most), found[most], above=1 + within),
            typical(what.format(least), found[least], below=1 + within),
        ]

    return experiment


@claim(section="8.5.3", source="Reddi, Kale & Kumar 2018, theorem 1", control="optimizer='adagrad(lr=0.001)'")
def adam_may_climb(
    optimizer: str = "adam(lr=0.001, rho1=0, rho2=0.1)", large: Positive = 3.0, rounds: Count = 1000
) -> Experiment:
    """Adam may go uphill for ever on a convex problem, where large gradients are rare and soon forgotten.

    Of each three losses the first is Cθ, the other two −θ: their mean rises with θ as C > 2, so θ
    should fall. With ρ₁ = 0 and ρ₂ = 1/(1 + C²) Adam raises it. The control, AdaGrad, forgets nothing.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        import torch

        from suite.claims.paths import answers

        given = torch.tensor([large, -1.0, -1.0], dtype=torch.float64).repeat(rounds)[:, None]
        moved = answers(optimizer, given).sum()
        return [exactly("θ after all rounds, from 0", float(moved), above=0)]

    return experiment


@claim(section="8.5.3", source="Loshchilov & Hutter 2019, propositions 1 and 2", control="rule='sgd'")
def decay_is_not_l2(
    rule: str = "adam", decay: Positive = 0.1, problem: str = "digits_mlp", steps: Count = 100
) -> Experiment:
    """For Adam decoupled weight decay is another thing than L² regularization, while for SGD they are one.

    Full-batch paths in float64 with ½λ‖θ‖² in the loss, and with ελθ taken off at each step: how far apart they end,
    relative to how far they went. The control asks of SGD what is claimed of Adam.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        what = "distance of the two ends / distance from the start"
        return [
            exactly(f"{rule}: {what}", _apart(problem, rule, decay, steps), above=0.01),
            exactly(f"sgd: {what}", _apart(problem, "sgd", decay, steps), below=1e-9),
        ]

    return experiment


def _apart(problem: str, rule: str, decay: float, steps: int) -> float:
    """The distance between the ends of both paths, relative to the way of the first."""
    from suite.claims.paths import visited

    rate = 0.1 if rule == "sgd" else 0.01
    inner = f"{rule}(lr={rate})"
    one = visited(problem, f"weight_decay({inner}, decay={decay})", steps)
    other = visited(problem, f"decoupled_decay({inner}, decay={decay * rate})", steps)
    return float((one[-1] - other[-1]).norm() / (one[-1] - one[0]).norm())
