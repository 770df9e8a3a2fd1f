"""Which of many optimizers stand in front of the figures: those that the tables mark, and some that everybody knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from analysis.figures import FEW, OWN, Palette
from suite.reporting.contests import Contest
from suite.reporting.names import listed
from suite.reporting.tables import TONES

REFERENCES = ("sgd", "adam")  # what others are commonly held against
MINE = 2  # definitions of one's own that are looked for in every figure; of more the best


def marked(contest: Contest) -> list[str]:
    """The best of a problem and what cannot be told from it, best first: what the tables mark."""
    return [row["optimizer"] for row in contest.leading if row["verdict"] in TONES]


def mine(names: Iterable[str]) -> list[str]:
    """The first definitions of one's own."""
    return [name for name in names if ".py:" in name][:MINE]


def beside(names: Iterable[str]) -> list[str]:
    """Those that are shown wherever they stand: definitions of one's own, and the references."""
    names = list(names)
    return [*mine(names), *(name for name in names if name in REFERENCES)]


def palette(names: Sequence[str], found: Sequence[Contest]) -> Palette:
    """The palette of a page.

    Of many optimizers those get colours that are one's own, that won most problems, and that are best or tied on
    most; then come the ones beside them.
    """
    names = list(dict.fromkeys(names))
    if len(names) <= FEW:
        return Palette(names)
    won, led, ranks = (dict.fromkeys(names, 0.0) for _ in range(3))
    for contest in found:
        tied, order = marked(contest), [row["optimizer"] for row in contest.leading]
        for name in names:
            won[name] += name in tied[:1]
            led[name] += name in tied
            ranks[name] += order.index(name) if name in order else len(names)
    ordered = sorted(names, key=lambda name: (-won[name], -led[name], ranks[name]))
    first = list(dict.fromkeys([*mine(ordered), *ordered]))
    return Palette([*first[:OWN], *beside(first[OWN:]), *first[OWN:]])


def front(palette: Palette, contest: Contest) -> Palette:
    """The palette of a problem's figures."""
    return palette.focus(marked(contest), beside(palette))


def ranked(names: Iterable[str], key: Callable[[str], float]) -> Palette:
    """The palette of a figure with names of its own; of many those are in front whose key is lowest."""
    names = list(dict.fromkeys(names))
    ordered = sorted(names, key=key) if len(names) > FEW else names
    return Palette(ordered).focus(ordered)


def among(palette: Palette, names: Sequence[str]) -> Palette:
    """The palette of a figure of some names that no table ranks: the first of the page's are in front."""
    known = palette if palette.many or len(names) <= FEW else Palette(names)
    return known.focus([name for name in known if name in names], beside(names))


def told(palette: Palette, contest: Contest) -> str:
    """Who stands in front of a problem's figures, in a sentence; empty where all do."""
    if not palette.many:
        return ""
    shown, best, tied = front(palette, contest), marked(contest)[:1], marked(contest)[1:]
    there = sum(map(shown.leads, tied))
    share = f"{'all' if there == len(tied) else f'{there} of the'} {len(tied)}" if len(tied) > 1 else "the one"
    who = f"the best and {share} that cannot be told from it" if tied else "the best" if best else ""
    known = [name for name in beside(palette) if name not in marked(contest)]
    if known:
        who += f", with {listed(known)} to compare" if best else listed(known)
    others = f"Its figures bring forward {who}; the others are" if who else "The lines of its figures are"
    return f"{others} grey: point at a line to see whose it is."
