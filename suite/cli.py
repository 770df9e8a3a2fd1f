"""The command line: ``python -m suite compare | run | list | data``.

Data go to stdout, everything else to stderr. Exit codes: 0, 1 (something failed), 2 (a
mistake in what was asked), 130 (interrupted). Help and lists answer at once, since torch and
pandas are imported by what needs them.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import click
from click.exceptions import Exit

from problems.names import UsageError
from suite import __version__, interrupts
from suite.errors import told
from suite.options import DATA, QUIET, ByNames, ByOptions, Finite, Listing
from suite.reporting.options import figures, report, table

KINDS = [
    "problems",
    "transforms",
    "optimizers",
    "strategies",
    "initializers",
    "biases",
    "schedules",
    "stops",
    "probes",
    "claims",
]
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Mistake(click.ClickException):
    """One message on stderr and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click declares it for the class

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {self.message}", file=file or sys.stderr)


class Commands(Listing):
    """Commands whose errors end in one message and the right exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        warnings.filterwarnings("ignore", "There is a performance drop")  # of torch's vmap, for torch's authors
        warnings.showwarning = lambda message, *rest: click.echo(f"warning: {message}", err=True)
        interrupts.heed()
        for stream in (sys.stdout, sys.stderr):
            getattr(stream, "reconfigure", lambda **options: None)(errors="replace")
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise Mistake(str(error), 2) from error
        except KeyboardInterrupt:
            raise Mistake("interrupted", 130) from None
        except SystemExit as error:  # click ends by exceptions of its own
            raise Mistake(f"somebody's definition ended the process; {told(error)}", 1) from error
        except (click.ClickException, Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            raise Mistake(_told(error), 1) from error


def _told(error: Exception) -> str:
    """An error that is nobody's mistake but the suite's, with where it arose."""
    from suite.store import StoreError

    if isinstance(error, StoreError):
        return str(error)
    if os.environ.get("SUITE_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the output'}: {error.strerror}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return f"inside the suite: {type(error).__name__}: {error} ({place}); SUITE_DEBUG=1 shows the whole traceback"


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="optimization-suite")
def cli() -> None:
    """Which training algorithm, and what does it cost?

    Wherever a name is asked for, settings may follow it, as in "sgd(lr=0.1)" or
    "polyak(adam, decay=0.99)", and file.py:Name takes it from your own file. Where several
    are, all, book, quick and patterns such as "digits_*" or "torch.*" stand for many, and -name
    leaves one out.
    """


def _shared(command: Any) -> Any:
    """The options that commands which train have in common."""
    options = (
        DATA,
        click.option("--device", default="cpu", show_default=True, help="Where to train, such as cpu or cuda."),
        click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True),
        click.option("--results", default="results", show_default=True, metavar="DIR", help="Where results are kept."),
        click.option("--force", is_flag=True, help="Train anew what is stored already."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        QUIET,
    )
    for option in reversed(options):
        command = option(command)
    return command


_TIMED = click.option("--timed", is_flag=True, help="Train what is shown alone, one run at a time, against a clock.")


@cli.command(cls=ByOptions)
@click.option("--problems", default="", metavar="NAMES", help="Separated by commas.  [default: quick]")
@click.option("--optimizers", metavar="NAMES", help="[default: sgd,momentum,nesterov,adagrad,rmsprop,adam]")
@click.option("--initializers", metavar="NAMES", help="Separated by commas.  [default: default, glorot_normal]")
@click.option("--seeds", type=int, help="Fresh seeds that the best settings run on.  [default: 15, for many rows more]")
@click.option("--trials", type=int, default=11, show_default=True, help="Settings tried of each optimizer.")
@click.option("--search", metavar="HOW", help="auto, grid, random, halton or tpe.  [default: auto]")
@click.option("--target", metavar="TARGET", help="As in valid_accuracy>=0.97.  [default: the problem's]")
@click.option("--steps", type=int, help="Steps of each run.  [default: the problem's]")
@click.option("--epochs", type=int, help="Epochs of each run, in place of steps.")
@click.option("--batch-size", type=int, help="Examples in a minibatch, 0 for all.  [default: the problem's]")
@click.option("--stop", default="", metavar="RULE", help="What may end a run sooner, such as early(patience=5).")
@click.option("--probes", default="", metavar="NAMES", help="What is measured along the runs that are shown.")
@click.option("--jobs", type=click.IntRange(1), help="Processes to train in.  [default: one per core]")
@click.option("--dry-run", is_flag=True, help="Say what would run and about how long it would take.")
@_TIMED
@_shared
def compare(**options: Any) -> None:
    """Tune optimizers, run the best settings on fresh seeds, and print a table per problem.

    Every optimizer gets the same number of trials. What is stored is not trained again, so an
    interrupted comparison goes on where it was.
    """
    from suite.commands import compare

    raise Exit(compare(**options))


@cli.command()
@click.argument("problem")
@click.argument("optimizer")
@click.option("--initializer", default="default", show_default=True, help="Where training starts.")
@click.option("--steps", type=int, help="How many steps.")
@click.option("--epochs", type=int, help="How many epochs.  [default: the problem's]")
@click.option("--batch-size", type=int, help="Examples in a minibatch, 0 for all.  [default: the problem's]")
@click.option("--grow-every", type=int, default=0, metavar="N", help="Double the minibatches after each N steps.")
@click.option("--order", default="reshuffle", show_default=True, help="How minibatches are drawn.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the start and the minibatches.")
@click.option("--stop", default="", metavar="RULE", help="What may end it sooner, such as early(patience=5).")
@click.option("--eval-every", metavar="N|epoch", help="Steps between evaluations.  [default: epochs]")
@click.option("--probes", default="", metavar="NAMES", help="What is measured along the way, separated by commas.")
@_TIMED
@_shared
def run(**options: Any) -> None:
    """Train OPTIMIZER on PROBLEM once and print its trace."""
    from suite.commands import run

    raise Exit(run(**options))


@cli.command()
@click.argument("problems", default="")
@click.argument("optimizers", default="")
@click.option("--batch-size", type=int, help="Examples in a minibatch, 0 for all.  [default: the problem's]")
@click.option("--device", default="cpu", show_default=True, help="Where to measure, such as cpu or cuda.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@DATA
@click.option("--seconds", type=Finite(0.1), default=2.0, show_default=True, help="To spend on each, about.")
@click.option("--compare", nargs=2, metavar="A B", help="How much more a step of A costs than one of B, by turns.")
@click.option("--update", metavar="NAMES", help="Only the updates of these, or of all, on one flat vector.")
@click.option("--sizes", default="1e4,1e5,1e6,1e7", show_default=True, help="Numbers of parameters for --update.")
@click.option("--cold", is_flag=True, help="Empty the caches before each --update, as a GPU's always are.")
@click.option("--resume", is_flag=True, help="Keep what DIR has of this machine and version; the rest, cheapest first.")
@click.option("--budget", type=Finite(0), metavar="SECONDS", help="As --resume, and begin no more after so long.")
@click.option("--results", default="results", show_default=True, metavar="DIR", help="Where costs are kept.")
@click.option("--figure", metavar="FILE", help="Bars of the parts of a step, as .svg, .png or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@QUIET
def cost(**options: Any) -> None:
    """Measure what a step of each of OPTIMIZERS costs on each of PROBLEMS.

    Seconds by part, memory, operations, and shares of what this machine does at best. Both
    are names separated by commas. Measure on an idle machine. With --budget it ends with exit
    code 1 while some are missing; the same command goes on with them.
    """
    from suite.cost_command import cost

    raise Exit(cost(**options))


@cli.command()
@click.argument("problem")
@click.argument("optimizer", required=False)
@click.option("--top", type=click.IntRange(0), default=10, show_default=True, help="Largest eigenvalues.")
@click.option("--bottom", type=click.IntRange(0), default=0, show_default=True, help="Smallest eigenvalues.")
@click.option("--density", is_flag=True, help="Also the spectral density, and what follows from it.")
@click.option("--at", default="0", show_default=True, metavar="STEPS", help="Steps: 0,100,1000, or log:1000.")
@click.option(
    "--matrix", default="hessian", show_default=True, metavar="NAMES", help="Or gauss_newton, gradient_covariance."
)
@click.option("--layers", is_flag=True, help="Also of the block of each layer's parameters.")
@click.option("--split", default="train", show_default=True, help="Whose examples: train, valid or test.")
@click.option("--examples", type=click.IntRange(0), default=0, help="Only the first so many.  [default: all]")
@click.option("--chunk", type=click.IntRange(1), help="Examples at a time; bounds memory.  [default: 1024]")
@click.option("--tol", type=Finite(0, min_open=True), default=1e-6, show_default=True, help="Relative residual.")
@click.option("--basis", type=click.IntRange(1), help="Vectors held.  [default: as memory allows]")
@click.option("--probes", type=click.IntRange(1), default=10, show_default=True, help="Of the density.")
@click.option("--lanczos-steps", type=click.IntRange(1), default=100, show_default=True, help="Of each probe.")
@click.option("--method", default="auto", show_default=True, help="Or lanczos, dense.")
@click.option("--initializer", default="default", show_default=True, help="Where training starts.")
@click.option("--batch-size", type=int, help="Examples in a minibatch, 0 for all.  [default: the problem's]")
@click.option("--order", default="reshuffle", show_default=True, help="How minibatches are drawn.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the start, the minibatches and the probes.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute, such as cpu or cuda.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@DATA
@click.option("--results", default="results", show_default=True, metavar="DIR", help="Where spectra are kept.")
@click.option("--figure", metavar="FILE", help="Spectra, and their course, as .svg, .png or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@QUIET
def spectrum(**options: Any) -> None:
    """Eigenvalues of PROBLEM's Hessian, at its start or along training with OPTIMIZER."""
    from suite.spectrum_command import spectrum

    raise Exit(spectrum(**options))


@cli.command()
@click.argument("problem")
@click.argument("optimizer")
@click.option("--probes", default="gradient_norm", show_default=True, metavar="NAMES", help="What is measured.")
@click.option("--seeds", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many, from --seed on.")
@click.option("--at", metavar="STEPS", help="Rows of the table: 0,100,1000, or log:1000.  [default: log:LAST]")
@click.option("--window", type=click.IntRange(1), help="Steps of the figure's running mean.  [default: a 40th of all]")
@click.option("--figure", metavar="FILE", help="Every measurement, and running means, as .svg, .png or .pdf.")
@click.option("--initializer", default="default", show_default=True, help="Where training starts.")
@click.option("--steps", type=int, help="How many steps.")
@click.option("--epochs", type=int, help="How many epochs.  [default: the problem's]")
@click.option("--batch-size", type=int, help="Examples in a minibatch, 0 for all.  [default: the problem's]")
@click.option("--grow-every", type=int, default=0, metavar="N", help="Double the minibatches after each N steps.")
@click.option("--order", default="reshuffle", show_default=True, help="How minibatches are drawn.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the start and the minibatches.")
@click.option("--eval-every", metavar="N|epoch", help="Steps between evaluations.  [default: epochs]")
@click.option("--stop", default="", metavar="RULE", help="What may end it sooner, such as early(patience=5).")
@_shared
def trace(**options: Any) -> None:
    """Measure along the training of OPTIMIZER on PROBLEM: gradient norms, curvature, noise, units.

    \b
    Figure 8.1 of Deep Learning, in which gradients grow while the error falls:
      trace cifar10_3c3d momentum --epochs 2 --eval-every 100 --figure fig.svg
    """
    from suite.trace_command import trace

    raise Exit(trace(**options))


@cli.command()
@click.argument("kind", type=click.Choice(["line", "slice", "plane", "path", "critical"]))
@click.argument("problem")
@click.argument("optimizer", required=False)
@click.option("--steps", type=click.IntRange(0), help="Of training.  [default: the problem's]")
@click.option("--points", type=click.IntRange(3), help="Of training.  [default: 25, of critical 9]")
@click.option("--count", type=click.IntRange(3), help="Places along each direction.  [default: 61, of planes 25]")
@click.option("--span", type=Finite(0, min_open=True), default=1.0, show_default=True, help="Of slices.")
@click.option("--split", default="train", show_default=True, help="Whose examples: train, valid or test.")
@click.option("--examples", type=click.IntRange(0), default=0, help="Only the first so many.  [default: all]")
@click.option("--chunk", type=click.IntRange(1), help="Examples at a time; bounds memory.  [default: 1024]")
@click.option("--initializer", default="default", show_default=True, help="Where training starts.")
@click.option("--batch-size", type=int, help="Examples in a minibatch, 0 for all.  [default: the problem's]")
@click.option("--order", default="reshuffle", show_default=True, help="How minibatches are drawn.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws start, minibatches and directions.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute, such as cpu or cuda.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="[default: float32; critical: float64]")
@DATA
@click.option("--results", default="results", show_default=True, metavar="DIR", help="Where looks are kept.")
@click.option("--figure", metavar="FILE", help="As .svg, .png or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@QUIET
def landscape(**options: Any) -> None:
    """Look at PROBLEM's loss where training with OPTIMIZER goes, or at its start.

    line: from start to end. slice, plane: along filter-normalized random directions. path: over the plane
    in which training moved most. critical: minimizes the gradient's norm from points of training, and
    tells the index of what it finds.
    """
    from suite.landscape_command import landscape

    raise Exit(landscape(**options))


@cli.command(cls=ByNames)
@click.argument("names", nargs=-1, required=True)
@DATA
@click.option("--kind", type=click.Choice(["optimizer", "problem", "initializer"]), help="Where a name has several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(**options: Any) -> None:
    """Say whether optimizers, problems and initializers keep what the suite relies on.

    NAMES are registered ones or your own, as in mine.py:MyOptimizer, and patterns, as in "mine.py:*".
    """
    from suite.check_command import check

    raise Exit(check(**options))


@cli.command(cls=ByNames)
@click.argument("names", nargs=-1)
@click.option("--section", default="", metavar="NUMBER", help="Only those of this section, such as 8.2.")
@click.option("--controls", is_flag=True, help="Their controls, too, of which none may hold.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="The first of the seeds.")
@click.option("--jobs", type=click.IntRange(1), help="Processes to use; 1 for this one.  [default: one per core]")
@DATA
@click.option("--results", default="results", show_default=True, metavar="DIR", help="Where results are kept.")
@click.option("--force", is_flag=True, help="Train anew what is stored already.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@QUIET
def claims(**options: Any) -> None:
    """Try what chapter 8 says: each claim is an experiment with a verdict.

    NAMES are those of `list claims`, or your own, as in mine.py:name; all unless given, which take about
    15 minutes of processor time. What is stored is not trained again.
    """
    from suite.claims_command import claims

    raise Exit(claims(**options))


for command in (report, figures, table):
    cli.add_command(command)


@cli.command("list")
@click.argument("kind", required=False, type=click.Choice(KINDS))
@click.option("--full", is_flag=True, help="Make each problem whose data is here, to tell what it is now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_names(kind: str | None, full: bool, as_json: bool) -> None:
    """Show names, what they are, and their settings with bounds and defaults."""
    from suite.listing import show_names

    show_names([kind] if kind else KINDS, as_json, full)


@cli.group(invoke_without_command=True)
@DATA
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def data(ctx: click.Context, as_json: bool) -> None:
    """Show data sets and where they are, or fetch them."""
    if ctx.invoked_subcommand is None:
        from suite.listing import show_data

        show_data(as_json)


@data.command()
@DATA
@click.argument("names", nargs=-1, required=True)
def fetch(names: tuple[str, ...]) -> None:
    """Bring data sets onto this machine, unless they are there."""
    from problems.data.catalog import source

    for name in names:
        click.echo(f"{name}: {source(name).fetch()}")
