"""Everything that a folder of results holds, read once, for tables, figures and the report."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from problems.names import UsageError
from suite import comparisons, costs, landscapes, spectra, store
from suite.claims.carrying import load as load_claims
from suite.reporting.names import short_optimizer

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Evidence:
    """The tables of a folder of results.

    Args:
        runs, traces: as ``suite.load`` gives them.
        costs, spectra: as ``suite.load_costs`` and ``suite.load_spectra`` give them.
        landscapes: as ``suite.load_landscapes`` gives them.
        comparisons: the records of ``suite.comparisons``, the last finished first.
        claims: the claims that were tried, by section.
    """

    folder: str
    runs: pd.DataFrame
    traces: pd.DataFrame
    costs: pd.DataFrame
    spectra: pd.DataFrame
    landscapes: Sequence[Mapping[str, Any]]
    comparisons: Sequence[Mapping[str, Any]]
    claims: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def read(cls, folder: str) -> Evidence:
        """All of a folder.

        Raises:
            UsageError: there is no such folder.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*older definitions.*")  # they are left out, and the page says so
            runs, traces = store.load(folder)
        return cls(
            folder,
            runs,
            traces,
            costs.load_costs(folder),
            spectra.load_spectra(folder),
            landscapes.load_landscapes(folder),
            comparisons.load(folder),
            load_claims(folder),
        )

    @property
    def empty(self) -> bool:
        """Whether nothing at all was measured."""
        return self.runs.empty and self.costs.empty and self.spectra.empty and not (self.landscapes or self.claims)

    @cached_property
    def compared(self) -> list[Mapping[str, Any]]:
        """The comparisons to show: those that no later one of the same terms takes in whole."""
        kept: list[Mapping[str, Any]] = []
        for record in self.comparisons:
            if not any(_takes_in(later, record) for later in kept):
                kept.append(record)
        return kept

    @cached_property
    def by_run(self) -> pd.DataFrame:
        """The runs, by identity."""
        return self.runs.set_index("run", drop=False) if len(self.runs) else self.runs

    @cached_property
    def alone(self) -> pd.DataFrame:
        """The runs that no comparison asked for, by the definitions as they are now."""
        if self.runs.empty:
            return self.runs
        rows = [row for record in self.comparisons for row in record["rows"]]
        asked = {run for row in rows for run in row["runs"]}
        asked |= {run for row in rows for trial in row["trials"] for run in trial["runs"]}
        return self.runs[~self.runs["run"].isin(asked) & ~self.runs["superseded"]]

    @cached_property
    def seconds(self) -> pd.DataFrame:
        """What a step costs where that is known: ``run``, ``machine``, ``seconds``; of compared runs alone."""
        shown = {run for record in self.compared for row in record["rows"] for run in row["runs"][:1]}
        runs = self.runs[self.runs["run"].isin(shown)] if len(self.runs) else self.runs
        found = []
        for _, own in runs.groupby("optimizer_text") if len(runs) else ():
            try:
                found.append(costs.step_seconds(self.costs, own))
            except UsageError:  # the optimizer's definition is not on this machine
                continue
        return _concat(found, ["run", "machine", "seconds"])

    def names(self) -> Iterator[str]:
        """The optimizers in the order of the comparisons; without any, those whose cost is known, cheapest first."""
        for record in self.compared:
            yield from dict.fromkeys(row["optimizer"] for row in sorted(record["rows"], key=lambda r: r["rank"]))
        if not self.compared and len(self.costs):
            yield from map(short_optimizer, self.costs.sort_values("seconds")["optimizer"])


def _takes_in(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether a comparison has all rows of an earlier one, at the same terms, with no fewer trials and seeds."""

    def terms(record: Mapping[str, Any]) -> dict[str, Any]:
        free = ("problems", "optimizers", "initializers", "trials", "seeds")
        known = later["question"].keys() & earlier["question"].keys()  # a version may ask more than the one before
        return {key: record["question"][key] for key in known if key not in free}

    def rows(record: Mapping[str, Any]) -> set[tuple[str, ...]]:
        return {(row["problem"], row["optimizer"], row["initializer"]) for row in record["rows"]}

    asked, before = later["question"], earlier["question"]
    more = asked["trials"] >= before["trials"] and asked["seeds"] >= before["seeds"]
    return more and terms(later) == terms(earlier) and rows(earlier) <= rows(later)


def _concat(found: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(columns))
