"""The rows of a table of costs: measured one after another, each kept as it is finished, or found there already.

A table may take longer than there is time for. Then what is kept from this machine and version is taken as
it is, the cheapest of the others are measured first, and what is left over is told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from problems.names import Spec, UsageError
from problems.problem import Problem, problem
from suite.costs import kept, save
from suite.optimizers import optimizer

if TYPE_CHECKING:
    from suite.cost import Cost

GRADIENTS = 10  # that setting up and the first steps take at least
Settings = Mapping[str, Any]  # batch_size, dtype and device of all rows


@dataclass(frozen=True)
class Row:
    """One optimizer on one problem, with so many examples at each step (0 for all)."""

    at: Spec
    text: Spec
    size: int

    @property
    def names(self) -> dict[str, str]:
        """As they stand in the table."""
        return {"problem": str(problem.short(self.at)), "optimizer": str(optimizer.short(self.text))}


@dataclass
class Rows:
    """What came of them: costs in the order asked for; what was refused, and why; what there was no time for."""

    costs: list[Cost] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)


def measured(
    named: Sequence[Spec],
    texts: Sequence[Spec],
    settings: Settings,
    seconds: float,
    results: str,
    *,
    resume: bool = False,
    budget: float | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> Rows:
    """The costs of each optimizer on each problem, kept in ``results`` one by one.

    Args:
        seconds: to spend on each, about.
        resume: those kept from this machine and version are not measured again; others come in the order of
            what their gradients take.
        budget: seconds after which no further measurement begins, nor one whose first steps would not fit in.
        say: told what is being done.

    Raises:
        UsageError: everything was refused.
    """
    from suite.cost import measure

    began = time.perf_counter()
    refused: dict[tuple[Spec, Spec], UsageError] = {}
    rows = _rows(named, texts, settings, refused)
    found = {row: cost for row in rows if resume and (cost := _kept(row, settings, results)) is not None}
    todo = dict.fromkeys((row for row in rows if row not in found), 0.0)
    if found:
        say(f"{len(found)} of {len(rows)} are kept in {results} from this machine and version")
    if resume and todo:
        todo = _cheapest_first(todo, settings)
    late: list[Row] = []
    for i, (row, each) in enumerate(todo.items()):
        left = math.inf if budget is None else budget - (time.perf_counter() - began)
        if left < GRADIENTS * each if i else left <= 0:  # the first is begun, so that every call gets on
            late.append(row)
            continue
        say(f"measuring {row.names['optimizer']} on {row.names['problem']} …")
        try:
            found[row] = measure(row.at, row.text, seconds=seconds, tell=lambda words: say(f"  {words}"), **settings)
        except UsageError as error:
            refused[row.at, row.text] = error
        else:
            save(found[row], results)
    if refused and not found and not late:
        raise UsageError("; ".join(dict.fromkeys(map(str, refused.values()))))
    return Rows(
        [found[row] for row in rows if row in found],
        [{**Row(*key, 0).names, "reason": _reason(error, *key)} for key, error in refused.items()],
        [row.names for row in rows if row in late],
    )


def _rows(
    named: Sequence[Spec], texts: Sequence[Spec], settings: Settings, refused: dict[tuple[Spec, Spec], UsageError]
) -> list[Row]:
    """All that can be made; the others go to ``refused``."""
    from suite.cost import size_of

    rows = []
    for at in named:
        try:
            made = problem.build(at)
        except UsageError as error:
            refused.update({(at, text): error for text in texts})
        else:
            rows += [Row(at, text, size_of(made, text, settings["batch_size"])) for text in texts]
    return rows


def _kept(row: Row, settings: Settings, results: str) -> Cost | None:
    return kept(str(row.at), str(row.text), row.size, settings["dtype"], settings["device"], results)


def _cheapest_first(rows: Iterable[Row], settings: Settings) -> dict[Row, float]:
    """In the order of the seconds that the gradient takes with which their steps begin, and these."""
    found: dict[Spec, tuple[float, int, int]] = {}
    rows = list(rows)
    for at in dict.fromkeys(row.at for row in rows):
        made = problem.build(at)
        found[at] = _gradient_seconds(made, settings), made.batch_size or len(made.train), len(made.train)

    def about(row: Row) -> float:
        each, usual, all_ = found[row.at]
        return each * (row.size or all_) / usual

    return {row: about(row) for row in sorted(rows, key=about)}


def _gradient_seconds(made: Problem, settings: Settings) -> float:
    """Seconds of a gradient on the problem's own minibatch, not recorded: the second one's; ∞ where it fails."""
    import torch

    from analysis.kernels import synchronize
    from suite.objective import Objective
    from suite.sampler import sampler_of

    try:
        made = made.to(settings["device"], getattr(torch, settings["dtype"]))
        theta = made.like.new_zeros(1, made.size)
        sampler = sampler_of(made, [0], made.batch_size, "reshuffle", theta)
        sampler.fill(0)
        objective = Objective(made, 1, sampler.batch, sampler.carried, taped=False)
        took = math.inf
        for _ in range(2):
            began = time.perf_counter()
            objective.gradient(theta)
            synchronize(theta.device)
            took = time.perf_counter() - began
    except Exception:  # a problem of somebody's own, of which measuring will tell
        return math.inf
    return took


def _reason(error: UsageError, at: Spec, text: Spec) -> str:
    """What an error says, without the names of those that are named before it."""
    said = str(error)
    for named in (f"{text.name} on {at.name}: ", f"{text.name}: ", f"{at.name}: "):
        said = said.removeprefix(named)
    return said


def told(rows: Rows, budget: float | None) -> list[str]:
    """What there is no cost of: a line for what was refused for one reason, and one for all that was not reached."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in rows.skipped:
        alike.setdefault((one["problem"], one["reason"]), []).append(one["optimizer"])
    lines = [f"skipped: {', '.join(texts)} on {at}: {reason}" for (at, reason), texts in alike.items()]
    if rows.missing and budget is not None:
        names: dict[str, list[str]] = {}
        for one in rows.missing:
            names.setdefault(one["problem"], []).append(one["optimizer"])
        total = len(rows.missing) + len(rows.costs)
        lines.append(f"missing after {budget:g} s: {len(rows.missing)} of {total}; the same command goes on with them")
        lines += [f"  {at}: {', '.join(of)}" for at, of in names.items()]
    return lines
