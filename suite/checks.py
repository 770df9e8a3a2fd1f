"""What every optimizer must keep, as checks that tell its author what to mend."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from problems.bounds import Bound, Range
from problems.data.splits import Splits
from problems.entries import Entry
from problems.models import mlp, regressor
from problems.names import Spec, UsageError, parse
from problems.parameters import In, Parameter
from problems.problem import Data, Problem
from problems.references import RAISED
from suite.errors import told
from suite.lane_oracle import LaneOracle
from suite.lanes import Together, lanes_of
from suite.objective import Objective
from suite.optimizers import Optimizer, optimizer
from suite.rules import PURE, fault, is_pure, of_users, same

STEPS = 20
CLOSE = 1e-11  # in float64, over STEPS steps
FRACTIONS = tuple(i / 12 for i in range(13))  # of the tuning range that are tried
ENOUGH = 100  # steps within which the loss has to fall


class Check(NamedTuple):
    """One property: its name, whether it holds, and in words what was found."""

    name: str
    holds: bool
    words: str


def bowl(scale: float = 1.0) -> Problem:
    """A convex quadratic that can be solved exactly: linear regression from 3 inputs to 2 outputs.

    A matrix [2, 3] and a vector [2], so that rules for matrices find one. With ``scale`` 0 the
    loss is 0 everywhere.
    """
    stream = torch.Generator().manual_seed(0)
    x, coefficients = (torch.randn(shape, generator=stream) for shape in ((32, 3), (3, 2)))
    model = mlp((3, 2))
    data = Splits(Data((x, x @ coefficients + 0.5)), None, None)
    made = regressor("a convex quadratic" if scale else "a flat loss", model, data)
    scaled = dataclasses.replace(made, criterion=lambda outputs, batch: scale * made.criterion(outputs, batch))
    return scaled.to("cpu", torch.float64)


def start() -> Tensor:
    """A point of the problem above where no gradient vanishes."""
    return torch.linspace(-1.0, 1.2, 8, dtype=torch.float64)


def example(entry: Entry[Optimizer]) -> Spec:
    """The entry with what it requires: ``sgd`` for an optimizer, the middle of its range for a number."""
    return optimizer.bind(Spec(entry.name).replace(**_required(entry)))


def _required(entry: Entry[Optimizer]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for parameter in entry.parameters:
        if parameter.kind == "nested" and not isinstance(parameter.bound, In):
            given[parameter.name] = Spec("sgd")
        elif parameter.required and isinstance(entry.tune.get(parameter.name), Range):
            given[parameter.name] = entry.tune[parameter.name].at(0.5)
    return given


def lacking(entry: Entry[Optimizer]) -> str:
    """What must be given beside its name for it to be checked; empty where the rest can be filled in."""
    missing = [p.name for p in entry.parameters if p.required and p.name not in _required(entry)]
    return f"{' and '.join(missing)} must be given" if missing else ""


def filled(spec: Spec | str) -> Spec:
    """The bound spec of an optimizer, what it requires and is not given filled in as :func:`example` does.

    Raises:
        UsageError: the name or the settings are wrong.
    """
    given = optimizer.named(parse(spec) if isinstance(spec, str) else spec)
    return optimizer.bind(given.replace(**{**_required(optimizer.find(given.name)), **given.options}))


def tuned(spec: Spec, fraction: float) -> Spec:
    """A bound spec with every setting that has a tuning range set to a fraction of it, nested ones too."""
    entry = optimizer.find(spec.name)
    changes: dict[str, Any] = {key: span.at(fraction) for key, span in entry.tune.items()}
    for parameter in entry.parameters:
        if parameter.kind == "nested":
            changes[parameter.name] = tuned(spec.options[parameter.name], fraction)
    return spec.replace(**changes)


def check_optimizer(spec: Spec | str) -> list[Check]:
    """All checks of one optimizer; a check that raises counts as one that does not hold.

    What cannot take a step is asked no more.

    Raises:
        UsageError: the name or the settings are wrong.
    """
    spec = filled(spec)
    entry = optimizer.find(spec.name)
    done = [*_documented(entry), *_bounds(entry, spec), *_tuning(entry)]
    ready = all(check.holds for check in done if check.name == "tuning")
    for name, check in _BEHAVIOUR.items() if ready else ():
        try:
            holds, words = check(spec)
        except RAISED as error:
            holds, words = False, f"it raised {told(error)}"
        if name in ("takes a step", "pure") and not holds:
            return [*done, Check(name, False, f"{words}; nothing else was asked of it")]
        done.append(Check(name, holds, words))
    return done


# what is said of it ----------------------------------------------------------------------


def _documented(entry: Entry[Optimizer]) -> Iterator[Check]:
    text = inspect.getdoc(entry.factory) or ""
    yield Check("docstring", bool(text), "it says what it is" if text else "write a docstring: one line, then the rule")
    sourced = bool({"section", "algorithm", "equation", "reference", "family"} & set(entry.meta))
    sourced |= re.search(r"\b(1[89]|20)\d\d\b", text) is not None
    how = '@optimizer(reference="Name 2026")'
    if sourced or not of_users(Spec(entry.name)):
        yield Check(
            "source", sourced, "it names its section or its paper" if sourced else f"say where it is from: {how}"
        )
    else:
        yield Check("source", True, f"of your own; if there is a paper, {how} names it")


def _bounds(entry: Entry[Optimizer], spec: Spec) -> Iterator[Check]:
    for parameter in entry.parameters:
        if parameter.kind in ("number", "integer") and parameter.bound is None and "family" not in entry.meta:
            kind = "Positive" if parameter.kind == "number" else "Count"
            words = f"it has none, so wrong values are found late; annotate it as {kind}, or with the bounds it has"
            yield Check(f"bounds of {parameter.name}", False, words)
        for value in outside(parameter):
            yield _refusal(spec, parameter, value)


def outside(parameter: Parameter) -> list[Any]:
    """Values that a setting must refuse."""
    bound = parameter.bound
    if not isinstance(bound, Bound) or parameter.kind not in ("number", "integer"):
        return []
    beyond: list[Any] = []
    if bound.low > float("-inf"):
        beyond.append(bound.low if bound.open_low else bound.low - 1)
    if bound.high < float("inf"):
        beyond.append(bound.high if bound.open_high else bound.high + 1)
    return [int(value) if parameter.kind == "integer" else value for value in beyond]


def _tuning(entry: Entry[Optimizer]) -> Iterator[Check]:
    """Whether ranges are ranges, inside the bounds; and what it means that there is none."""
    numbers = {p.name: p for p in entry.parameters if p.kind in ("number", "integer")}
    for key, span in entry.tune.items():
        bound = numbers[key].bound if key in numbers else None
        words = f"{key} from {span}"
        if not isinstance(span, Range):
            words = f"tune={{{key!r}: {span!r}}}: write a range, log_range(1e-5, 1.0) or linear_range(0.0, 1.0)"
        elif isinstance(bound, Bound) and not (span.low in bound and span.high in bound):
            words = f"the range of {key}, {span}, leaves its bounds: {key} must be {bound}"
        else:
            yield Check("tuning", True, words)
            continue
        yield Check("tuning", False, words)
    if not entry.tune and numbers:
        first = next(iter(numbers))
        words = f"nothing is tuned: compare takes the settings as they are, unless @optimizer(tune={{{first!r}: …}})"
        yield Check("tuning", True, words)


def _refusal(spec: Spec, parameter: Parameter, value: Any) -> Check:
    name = f"bounds of {parameter.name}"
    expected = f"{spec.name}: {parameter.name} must be {parameter.bound}, got {value:g}"
    try:
        optimizer.bind(spec.replace(**{parameter.name: value}))
    except UsageError as error:
        return Check(name, str(error) == expected, str(error))
    return Check(name, False, f"{value:g} was accepted; expected the message {expected!r}")


# what it does ----------------------------------------------------------------------------


def _train(
    specs: list[Spec], problem: Problem, steps: int, size: int = 0, seeds: Sequence[int] | None = None
) -> tuple[Tensor, list[Any], bool]:
    """Train lanes; where they end, their calls, and whether every state is finite.

    Lanes with one seed begin at one point and see the same minibatches.
    """
    seeds = [0] * len(specs) if seeds is None else seeds
    theta = torch.stack([start() * (1 + seed) for seed in seeds])
    lanes = lanes_of(problem, specs, theta, seeds, size, "reshuffle")
    for step in range(steps):
        lanes.step(step)
    if lanes.errors:
        raise RuntimeError(next(iter(lanes.errors.values())))
    leaves = [leaf for leaf in tree_leaves(getattr(lanes, "state", ())) if isinstance(leaf, Tensor)]
    finite = all(bool(leaf.isfinite().all()) for leaf in [*leaves, lanes.theta])
    return lanes.readout().clone(), lanes.calls(), finite


def _steps(spec: Spec) -> tuple[bool, str]:
    try:
        words = fault(optimizer.build(spec), _oracle(bowl()), start())
    except RAISED as error:
        return False, f"one step of one run raised {told(error)}"
    return not words, words or "one step of one run gives theta and a state of the same form"


def _oracle(problem: Problem) -> LaneOracle:
    """One lane's view of a problem, all its examples at once."""
    return LaneOracle(Objective(problem, 1, tuple(t[None] for t in problem.train.tensors), taped=False))


def _pure(spec: Spec) -> tuple[bool, str]:
    made = optimizer.build(spec)
    if not made.needs.vmap:
        return True, "it keeps its own objects, in which it may count"
    pure = is_pure(made, _oracle(bowl()), start())
    return pure, "a step depends on what it is given alone" if pure else PURE


def _untouched(spec: Spec) -> tuple[bool, str]:
    made = optimizer.build(spec)
    if not made.needs.vmap:
        return True, "it keeps its own objects, which it may change"
    oracle, theta = _oracle(bowl()), start()
    state = made.init(oracle, theta)
    for _ in range(3):
        before = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in tree_leaves((theta, state))]
        given = tree_leaves((theta, state))
        theta, state = made.step(oracle, state, theta)
        if not same(before, given):
            return False, "step changes the theta or state that it was given; return new tensors (theta - lr * g)"
    return True, "theta and the state that step is given stay as they are"


def _reproducible(spec: Spec) -> tuple[bool, str]:
    first, second = (_train([spec], bowl(), STEPS)[0] for _ in range(2))
    alike = same(first, second)
    return alike, "like runs give the same bits" if alike else "two like runs differ; draw from a generator with a seed"


def _alone(spec: Spec) -> tuple[bool, str]:
    specs = [tuned(spec, fraction) for fraction in (0.3, 0.4, 0.5)]
    size = 0 if optimizer.build(spec).needs.full_batch else 8
    together, calls, _ = _train(specs, bowl(), STEPS, size, range(3))
    for lane, of_lane in enumerate(specs):
        alone, own, _ = _train([of_lane], bowl(), STEPS, size, [lane])
        if same(together[lane], alone[0]) and own[0] == calls[lane]:
            continue
        off = ((together[lane] - alone[0]).abs() / (1 + alone[0].abs())).max().item()
        if not off <= CLOSE:
            return False, f"{of_lane} among others ends {off:.1e} away from the same run alone"
        if own[0] != calls[lane]:
            return False, f"{of_lane} among others counts {dict(calls[lane])} evaluations, alone {dict(own[0])}"
    return True, f"lanes equal the runs alone to {CLOSE:g} after {STEPS} steps, with as many evaluations"


def _lifts(spec: Spec) -> tuple[bool, str]:
    if not optimizer.build(spec).needs.vmap:
        return True, "it asks to be run lane by lane"
    theta = start().expand(2, -1).clone()
    try:
        Together(bowl(), [spec, spec], theta, [0, 1], 8, "reshuffle")
    except Exception as error:
        return False, _of_vmap(error)
    return True, "all lanes train in one vmapped step"


def _of_vmap(error: Exception) -> str:
    """Why a rule cannot be lifted, and what to do."""
    text, place = str(error), told(error).rpartition(" (")[2] if told(error).endswith(")") else ""
    where = f" ({place}" if place else ""
    if "control flow" in text or ".item()" in text:
        return (
            f"it looks at values, as if, while, float() and .item() do{where}, so runs train one by one; compute with "
            "torch.where(condition, a, b), or declare needs=Needs(vmap=False)"
        )
    if "random" in text:
        return (
            f"it draws random numbers{where}, which lanes cannot; take them from suite.strategies.noise: key_of(theta) "
            "in init, normal(key, t, n) in step"
        )
    return (
        f"lifted to many lanes by torch.func.vmap it raises {told(error)}, so runs train one by one; write it with "
        "torch operations of fixed shapes (torch.where in place of a mask), or declare needs=Needs(vmap=False)"
    )


def _falls(spec: Spec) -> tuple[bool, str]:
    problem = bowl()
    specs = list(dict.fromkeys(tuned(spec, fraction) for fraction in FRACTIONS))
    ends, _, _ = _train(specs, problem, ENOUGH)
    losses = torch.vmap(problem.loss, in_dims=(0, None))(ends, problem.train.tensors).nan_to_num(torch.inf)
    before, after = problem.loss(start(), problem.train.tensors).item(), losses.min().item()
    words = f"on {problem.name} the loss goes from {before:.3g} to {after:.3g} in {ENOUGH} steps at its best setting"
    if after < 0.5 * before:
        return True, words.replace("goes", "falls")
    if bool((ends == start()).all()):
        words = f"{words}, for theta never moves: write into the parameters (p.add_, p.copy_), return the new theta"
    few = "" if len(specs) > 1 else "; only one setting was tried, for it declares no tuning range"
    return False, f"{words}; it has to halve{few}"


def _flat(spec: Spec) -> tuple[bool, str]:
    _, _, finite = _train([spec], bowl(0.0), STEPS)
    if finite:
        return True, "zero gradients leave it finite"
    return (
        False,
        "zero gradients give inf or nan: a division by 0? x / (norm + delta), or (x / norm).where(norm > 0, 0.0)",
    )


def _finite(spec: Spec) -> tuple[bool, str]:
    _, _, finite = _train([tuned(spec, 0.3)], bowl(), STEPS)
    return finite, "theta and state stay finite" if finite else "theta or the state becomes inf or nan on a quadratic"


_BEHAVIOUR: dict[str, Callable[[Spec], tuple[bool, str]]] = {
    "takes a step": _steps,
    "pure": _pure,
    "inputs untouched": _untouched,
    "reproducible": _reproducible,
    "lifts to lanes": _lifts,
    "lanes equal alone": _alone,
    "loss falls": _falls,
    "zero gradients": _flat,
    "finite": _finite,
}
