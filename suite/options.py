"""Answers to what several commands ask alike, refused before the work begins."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click

from problems.data.silence import silence
from problems.names import UsageError

FIGURES = (".svg", ".png", ".pdf")


class Finite(click.FloatRange):
    """A number in a range, which inf and nan are not in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return found


class Listing(click.Group):
    """Commands that are listed in the order in which they are defined, with the whole of their first sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them below the options."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, of.get_short_help_str(limit=200)) for name, of in self.commands.items()])


class ByOptions(click.Command):
    """A command that takes its names by options, and says so where they come as arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What is left of the arguments: nothing.

        Raises:
            click.UsageError: something is.
        """
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if type(error) is not click.UsageError:  # those of options are of classes of their own
                raise
            how = "names come by options, as in --problems digits_mlp --optimizers adam,sgd"
            raise click.UsageError(f"{error.message}; {how}", ctx) from None


class ByNames(click.Command):
    """A command whose arguments are names, of which ``-name`` leaves one out, as it does within a text."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What is left of the arguments: nothing."""
        valued = {name for p in self.params if isinstance(p, click.Option) and not p.is_flag for name in p.opts}
        named = [
            f" {arg}" if arg[:1] == "-" and arg[1:2] != "-" and len(arg) > 2 and before not in valued else arg
            for before, arg in zip(["", *args], args, strict=False)
        ]
        return super().parse_args(ctx, named)


def need_figure(command: str, figure: str | None) -> None:
    """Refuse a figure's file that could not be written at the end, and make its folder.

    Raises:
        UsageError: another ending, or no such folder can be made.
    """
    if figure is None:
        return
    path = Path(figure)
    if path.suffix.lower() not in FIGURES:
        raise UsageError(f"{command}: figure must end in {', '.join(FIGURES)}, got {figure!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        raise UsageError(f"{command}: {figure} cannot be written: {error.strerror or error}") from error
    if not path.stat().st_size:
        path.unlink()


def _data_folder(ctx: click.Context, parameter: click.Parameter, folder: str | None) -> None:
    """Look for data there, in this process and in those that it starts."""
    if folder is not None:
        if not folder or not Path(folder).is_dir():
            raise UsageError(f"data: {folder or repr(folder)} is not a folder")
        os.environ["SUITE_DATA"] = str(Path(folder).resolve())


def _silent(ctx: click.Context, parameter: click.Parameter, quiet: bool) -> bool:
    """No progress of reading data either, as long as the command runs."""
    ctx.with_resource(silence(quiet))
    return quiet


DATA = click.option(
    "--data",
    metavar="DIR",
    callback=_data_folder,
    expose_value=False,
    help="Where data sets are.  [default: SUITE_DATA]",
)
QUIET = click.option("--quiet", is_flag=True, callback=_silent, help="No progress on stderr.")
