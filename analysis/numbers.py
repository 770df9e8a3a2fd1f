"""Numbers as a person reads them."""

from __future__ import annotations

import math

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """Four significant digits, without an exponent where that can be read."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e5:
        rounded = f"{value:.3e}"  # 0.0099999 is 0.01000, not 0.010000
        return f"{value:.{max(0, 3 - int(rounded.partition('e')[2]))}f}"
    return f"{value:.3e}"


def plain(value: object) -> str:
    """A number as :func:`number` has it, a whole one without decimals; anything else as it is."""
    if isinstance(value, float) and not (value.is_integer() and abs(value) < 1e6):
        return number(value)
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def interval(low: float, high: float) -> str:
    """``[low, high]``; empty where there is none, as from one run alone."""
    return "" if math.isnan(low) or math.isnan(high) else f"[{number(low)}, {number(high)}]"


def tick(value: float) -> str:
    """A place on a logarithmic axis: ``0.01``, ``1000``, ``10⁻⁵``; ``3·10⁶`` between powers of ten."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    times = f"{value / 10.0**exponent:.3g}"
    power = f"10{str(exponent).translate(_RAISED)}"
    return power if times == "1" else f"-{power}" if times == "-1" else f"{times}·{power}"


def three(value: float) -> str:
    """Three digits, or all before the point: ``0.00332``, ``84.1``, ``9,644``."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Three digits and a unit: ``164 µs``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(seconds) >= size:
            return f"{three(seconds / size)} {unit}"
    return f"{three(seconds * 1e9)} ns"
