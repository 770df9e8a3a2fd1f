"""Rules that end a run before its steps are used up: ``early(patience=5, measure=valid_error)``.

A rule looks at one lane's evaluations so far and at nothing else, so a run ends at the same step
whatever trains beside it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from problems.bounds import Count, NonNegative, Positive
from problems.names import UsageError, parse
from problems.problem import Problem
from problems.registry import Registry

Measures = Mapping[str, float]  # what one evaluation found: valid_loss, valid_accuracy, …
History = Sequence[tuple[int, Measures]]  # (step, measures) of every evaluation, the last one now
GRADIENT = "train_gradient_norm"
BEST = "best"  # a measure of this name is the problem's: the one by which it is judged


@dataclass(frozen=True)
class Rule:
    """A stopping rule of one problem.

    Args:
        over: history -> why the run ends now; empty if it goes on.
        best: the measure whose best evaluation is what the run is worth; empty for the last one.
        gradient: it needs the norm of the training loss's gradient among the measures.
    """

    over: Callable[[History], str]
    best: str = ""
    gradient: bool = False


Stop = Callable[[Problem], Rule]
stop: Registry[Stop] = Registry("stop", "suite.stopping")


def measure_of(measures: Measures, name: str) -> float:
    """A measure of an evaluation; ``valid_error``, the 0-1 loss, is 1 − ``valid_accuracy``."""
    if name in measures:
        return measures[name]
    split, _, kind = name.partition("_")
    return 1 - measures[f"{split}_accuracy"] if kind == "error" else measures[name]


def measured(who: str, made: Problem, name: str) -> str:
    """The full name of a measure that evaluations of a problem give; ``best`` is that by which it is judged.

    Raises:
        UsageError: they do not give it.
    """
    metrics = ("loss", *made.metrics, *(("error",) if "accuracy" in made.metrics else ()))
    known = [f"{split}_{metric}" for split in made.splits for metric in metrics]
    if name == BEST:
        return next(m for m in ("valid_error", "valid_loss", "train_loss") if m in known)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise UsageError(f"{who}: {made.name} does not measure {name!r}; {hint}")
    return name


def cost(made: Problem, name: str, measures: Measures) -> float:
    """A measure turned so that lower is better."""
    return measure_of(measures, name) * (-1 if made.better(name) == "higher" else 1)


def best_of(made: Problem, name: str, history: History) -> int:
    """Which evaluation, by number, has the best value of a measure; of equals the first."""
    costs = [cost(made, name, measures) for _, measures in history]
    return costs.index(min(costs))


@stop(section="7.8", algorithm="7.1")
def early(patience: Count = 5, measure: str = BEST, delta: NonNegative = 0.0) -> Stop:
    """Early stopping: ends when a validation measure has not got better in ``patience`` evaluations.

    What the run is worth is its evaluation with the best value: ``at_best_<measure>`` beside ``best_step`` in
    its summary, and in ``compare``.

    Args:
        measure: such as ``valid_error``, the 0-1 loss, which differs from the loss that is trained
            (section 8.1.2), ``valid_loss`` or ``valid_accuracy``; ``best`` takes the first of valid_error,
            valid_loss and train_loss that there is.
        delta: a value counts as better if it is so by more than this.

    Prechelt 1998.
    """

    def rule(made: Problem) -> Rule:
        name = measured("early", made, measure)

        def over(history: History) -> str:
            leader = 0
            for i, (_, measures) in enumerate(history):
                if cost(made, name, measures) < cost(made, name, history[leader][1]) - delta:
                    leader = i
            if len(history) - 1 - leader < patience:
                return ""
            step, measures = history[leader]
            best = f"{measure_of(measures, name):.4g}, of step {step},"
            return f"early: {name} has not got better than {best} within a patience of {patience}"

        return Rule(over, best=name)

    return rule


@stop(section="8.2.2")
def gradient_norm(tol: Positive = 1e-3) -> Stop:
    """Ends at the first evaluation at which the gradient of the whole training loss is small: ‖∇L(θ)‖ ≤ ``tol``.

    Near a critical point of any kind. Each evaluation also measures the norm, as ``train_gradient_norm``, which
    costs a gradient over the training split. It grows in most training of deep nets (figure 8.1).

    Nocedal & Wright 2006.
    """

    def over(history: History) -> str:
        found = history[-1][1][GRADIENT]
        return f"gradient_norm: {found:.4g} <= {tol:g} at step {history[-1][0]}" if found <= tol else ""

    return lambda made: Rule(over, gradient=True)


@stop(reference="as torch.optim.lr_scheduler.ReduceLROnPlateau decides, with threshold_mode rel")
def plateau(patience: Count = 10, measure: str = "train_loss", share: NonNegative = 1e-3) -> Stop:
    """Ends when a measure has come down by no more than a share of itself in ``patience`` evaluations.

    Args:
        share: a value counts as better than the best one so far, v, if it is below v − share·|v|.
    """

    def rule(made: Problem) -> Rule:
        name = measured("plateau", made, measure)

        def over(history: History) -> str:
            best, since = math.inf, 0
            for i, (_, measures) in enumerate(history):
                found = cost(made, name, measures)
                if best == math.inf or found < best - share * abs(best):
                    best, since = found, i
            if len(history) - 1 - since < patience:
                return ""
            return f"plateau: {name} has not come down by {share:.3g} of itself since step {history[since][0]}"

        return Rule(over)

    return rule


@stop(reference="Deep Learning, section 7.8: several criteria at once")
def either(stop: Stop, other: Stop) -> Stop:
    """Ends as soon as one of two rules says so: ``either(early, gradient_norm(tol=1e-4))``.

    The best evaluation is that of the first rule that has one.
    """

    def rule(made: Problem) -> Rule:
        rules = (stop(made), other(made))

        def over(history: History) -> str:
            return next(filter(None, (r.over(history) for r in rules)), "")

        best = next((r.best for r in rules if r.best), "")
        return Rule(over, best, any(r.gradient for r in rules))

    return rule


def rule_of(text: str, made: Problem) -> Rule:
    """The rule of a bound spec as text; of none for an empty text.

    Raises:
        UsageError: the problem does not measure what the rule goes by.
    """
    return stop.build(parse(text))(made) if text else Rule(lambda history: "")
