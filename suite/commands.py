"""What ``compare`` and ``run`` do, once the command line has been read."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

from problems.names import UsageError, parse
from problems.problem import Problem, problem
from suite import comparisons, export, tables
from suite.environment import check_device, cores
from suite.estimate import seconds
from suite.ledger import Ledger
from suite.optimizers import optimizer as optimizers
from suite.outcome import compare as compare_plan
from suite.outlook import Outlook, show_plan
from suite.plan import Plan, Question, default_eval_every, plan, steps_per_epoch, wants_all
from suite.progress import Display
from suite.spec import Run
from suite.store import Store


def compare(
    *, results: str, force: bool, as_json: bool, quiet: bool, jobs: int | None, dry_run: bool, **asked: Any
) -> int:
    """The exit code of a comparison: 1 if an optimizer could not be run."""
    planned = plan(Question(**{key: value for key, value in asked.items() if value is not None}))
    ledger = Ledger(Store(results), jobs or _jobs(planned.question.device), force)
    ledger.store.sweep()
    stderr, stdout = tables.console(sys.stderr), tables.console(sys.stdout)
    if dry_run:
        if as_json:
            click.echo(export.to_json(export.of_plan(planned) | asdict(_outlook(planned, ledger))))
        else:
            show_plan(stdout, planned, lambda: _outlook(planned, ledger))
        return 0
    if not quiet:
        show_plan(stderr, planned, lambda: _outlook(planned, ledger))
    try:
        with Display(stderr, quiet) as display:
            outcome = compare_plan(planned, ledger, display.phase)
    except KeyboardInterrupt:
        raise _interrupted(ledger) from None
    comparisons.save(outcome, results)
    if as_json:
        click.echo(export.to_json(export.of_comparison(outcome)))
    else:
        tables.show_comparison(stdout, outcome)
    return int(outcome.failed)


def _jobs(device: str) -> int:
    """Processes to train in: one per core; an accelerator is shared by lanes, not by processes."""
    return cores() if device == "cpu" else 1


def _outlook(planned: Plan, ledger: Ledger) -> Outlook:
    tuning, evaluation = planned.tuning_guess(), planned.evaluation_guess()
    missing = ledger.missing(tuning)
    todo = [missing, evaluation] if missing else []
    return Outlook(
        runs=len(tuning) + len(evaluation),
        stored=len(tuning) - len(missing),
        seconds=sum(seconds(runs, ledger.jobs) for runs in todo),
        jobs=ledger.jobs,
        results=str(ledger.store.folder),
    )


def _interrupted(ledger: Ledger) -> click.ClickException:
    from suite.cli import Mistake

    return Mistake(
        f"interrupted; {ledger.stored} new results are kept in {ledger.store.folder}, "
        "and the same command goes on from there",
        130,
    )


def run(*, results: str, force: bool, as_json: bool, quiet: bool, **asked: Any) -> int:
    """The exit code of one run: 1 if it failed or could not begin."""
    wanted = one_run(**asked)
    ledger = Ledger(Store(results), 1, force)
    ledger.store.sweep()
    try:
        with Display(tables.console(sys.stderr), quiet) as display:
            result = ledger.obtain([wanted], lambda runs: display.phase("training", runs))[wanted]
    except KeyboardInterrupt:
        raise _interrupted(ledger) from None
    if as_json:
        click.echo(export.to_json(result.to_dict()))
    else:
        tables.show_run(tables.console(sys.stdout), result)
    return int(result.status in ("failed", "skipped"))


def one_run(
    *,
    problem: str,
    optimizer: str,
    initializer: str,
    steps: int | None,
    epochs: int | None,
    batch_size: int | None,
    grow_every: int,
    probes: str,
    order: str,
    seed: int,
    eval_every: str | None,
    stop: str,
    device: str,
    dtype: str,
    timed: bool = False,
) -> Run:
    """The run that a person asked for, what was left open taken from the problem.

    Raises:
        UsageError: an unknown name, a setting out of bounds, missing data.
    """
    check_device(device)
    made = _build(problem)
    whole = wants_all(optimizers.bind(optimizer))  # or it cannot be made, which is told before anything is trained
    size = batch_size if batch_size is not None else 0 if whole else made.batch_size
    epoch = steps_per_epoch(made, size)
    if steps is not None and epochs is not None:
        raise UsageError("run: give --steps or --epochs, not both")
    if epochs is not None and epochs < 0:
        raise UsageError(f"run: epochs must be >= 0, got {epochs}")
    if steps is None:
        steps = (made.epochs if epochs is None else epochs) * epoch
    every = {None: default_eval_every(made, size, steps), "epoch": epoch}.get(eval_every) or _whole(eval_every)
    return Run.make(
        problem,
        optimizer,
        initializer,
        seed=seed,
        steps=steps,
        eval_every=every,
        batch_size=size,
        grow_every=grow_every,
        probes=probes,
        order=order,
        stop=stop,
        device=device,
        dtype=dtype,
        timed=timed,
    )


def _build(text: str) -> Problem:
    return problem.build(problem.bind(parse(text)))


def _whole(text: str | None) -> int:
    if text is not None and text.isdecimal() and int(text) > 0:
        return int(text)
    raise UsageError(f"run: eval-every must be a whole number >= 1 or epoch, got {text!r}")
