"""The numbers behind the figures of a page, each table once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 6  # of numbers


class Numbers:
    """Tables as JSON by identity; equal tables have one, such as those of one figure by several clocks."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((identity, text) for text, identity in self._known.items())

    def add(self, table: pd.DataFrame) -> str:
        """The identity of a table, whose columns of lists are left out."""
        columns = {str(c): table[c].tolist() for c in table if not (len(table) and isinstance(table[c].iloc[0], list))}
        text = json.dumps({name: _column(values) for name, values in columns.items()}, separators=(",", ":"))
        return self._known.setdefault(text.replace("<", "\\u003c"), f"d{len(self._known)}")


def _column(values: list[Any]) -> Any:
    """Values, or how often each follows on itself where that is shorter: ``{"runs": [value, times, …]}``."""
    plain = [_plain(value) for value in values]
    runs = [part for value, same in groupby(plain) for part in (value, sum(1 for _ in same))]
    return {"runs": runs} if len(runs) < len(plain) else plain


def _plain(value: Any) -> Any:
    """A value as JSON has it: NaN as null, infinities as text."""
    if not isinstance(value, float):
        return value if isinstance(value, int | str) else str(value)
    return None if math.isnan(value) else str(value) if math.isinf(value) else _short(value)


def _short(value: float) -> float | int:
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
