"""What a comparison will do, and about how long that will take, before it does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from suite import tables
from suite.plan import Plan, seeds_needed
from suite.progress import count, span

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Outlook:
    """How many runs a comparison has and how many of the tuning are stored in ``results``; about how many seconds the
    others take in so many processes."""

    runs: int
    stored: int
    seconds: float
    jobs: int
    results: str


def show_plan(to: Console, plan: Plan, outlook: Callable[[], Outlook]) -> None:
    """What a comparison will do, and then about how long that will take, which may have to be tried first."""
    table = tables._columns(("problem", "steps", "batch", "optimizers", "starts"), numbers=True)
    for task in plan.tasks:
        of_task = [c for c in plan.contestants if c.task is task]
        optimizers, starts = ({getattr(c, key) for c in of_task} for key in ("optimizer", "initializer"))
        table.add_row(task.name, str(task.steps), str(task.batch_size or "all"), str(len(optimizers)), str(len(starts)))
    lines = [
        *tables.skipped(plan),
        f"each optimizer: {tables.len_of_tuning(plan)} to tune, then {count(plan.seeds, 'fresh seed')}",
    ]
    lines += _full_batches(plan)
    if plan.seeds < seeds_needed(plan.rows):
        fresh = count(plan.seeds, "fresh seed")
        lines.append(f"{fresh} cannot tell the best from the others: {tables.too_few(plan.rows)}")
    tables.show(to, table, *lines)
    found = outlook()
    jobs = count(found.jobs, "process", "processes")
    todo = f"about {span(found.seconds)} in {jobs}" if found.seconds else "nothing to tune again"
    tables.show(to, f"{found.runs} runs, {found.stored} of the tuning stored in {found.results}: {todo}", "")


def _full_batches(plan: Plan) -> Iterator[str]:
    """Whose steps are fewer than the table says, since each is of all examples."""
    fewer = [c for c in plan.contestants if c.full_batch and c.steps != c.task.steps]
    if fewer:
        names = ", ".join(dict.fromkeys(str(c.optimizer) for c in fewer))
        steps = ", ".join(f"{n} on {name}" for name, n in {c.task.name: c.steps for c in fewer}.items())
        yield f"full batches and as many epochs, so fewer steps: {names} ({steps}); --steps N is for all alike"
