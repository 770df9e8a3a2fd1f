"""Figures where nobody can point at a line, and of values that leave little to draw."""

from __future__ import annotations

import re
import warnings
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from analysis import figures
from analysis.figures import FEW, LIGHT, OWN, Chart, Palette
from analysis.figures.chart import beside


def lines(count: int, front: list[str] | None = None, **columns: object) -> Chart:
    """So many flat lines, each above the one before; of those in front the names are given."""
    names = [f"n{i}" for i in range(count)]
    rows = [{"optimizer": n, "step": k, "median": 1.0 + i} for i, n in enumerate(names) for k in (0, 50, 100)]
    table = pd.DataFrame(rows).assign(low=np.nan, high=np.nan, n=5, **columns)
    palette = Palette(names) if front is None else Palette(names).focus(front)
    return figures.learning_curves(table, measure="test_loss", palette=palette)


def words(svg: str) -> str:
    return " ".join(ET.fromstring(svg.encode()).itertext())


def below(chart: Chart) -> str:
    """What is written below the axes of a file, in one line."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg())
    at = next((i for i, text in enumerate(texts) if text.startswith("In grey")), len(texts))
    return " ".join(texts[at:])


def test_a_file_names_its_grey_lines_from_the_top() -> None:
    chart = lines(20, ["n3", "n5"])
    grey = [f"n{i}" for i in reversed(range(20)) if i not in (3, 5)]
    assert below(chart).startswith(f"In grey, from the top: {', '.join(grey)}")
    assert "In grey, " not in words(chart.inline().svg), "on a page lines are named when pointed at"
    assert below(lines(FEW)) == "", "of few each has its name beside its line"


def test_of_several_panels_grey_lines_are_named_once() -> None:
    both = beside("both", "Both", [lines(20, ["n3"]), lines(20, ["n3"])])
    assert below(both).startswith("In grey: n0, n1, n2, n4, ")
    assert below(both).count("n19") == 1


@pytest.mark.parametrize("count", [11, 30])
def test_names_below_are_within_the_figure(count: int) -> None:
    """They take room of their own: the axes are as high as without them."""
    chart = lines(count, ["n1"])
    height = float(re.findall(r'viewBox="0 0 \S+ ([\d.]+)"', chart.svg())[0])
    bare = float(re.findall(r'viewBox="0 0 \S+ ([\d.]+)"', lines(FEW).svg())[0])
    assert bare < height < 1.4 * bare


def test_a_long_title_is_broken_and_stays_within_the_figure() -> None:
    title = "Final train loss on linear_net(depth=100, hidden=64, strongest=1.0)"
    chart = figures.cost_bars(pd.DataFrame(), title=title)
    broken = [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg()) if text in title]
    assert " ".join(broken) == title
    assert max(map(len, broken)) * 7.4 < 72 * chart.whole[0]


def test_of_many_that_are_met_late_none_takes_anothers_colour() -> None:
    palette = Palette()
    colours = [palette.colour(f"n{i}") for i in range(25)]
    assert len(set(colours[:8])) == 8
    assert set(colours[FEW:]) == {LIGHT.series[OWN]}
    assert [palette.own(f"n{i}") for i in range(25)] == [i < FEW for i in range(25)]


def test_clocks_by_which_some_end_far_sooner_have_a_logarithmic_axis() -> None:
    rows = [{"optimizer": n, "step": k, "median": 2.0 - k / 100, "epochs": k * each}
            for n, each in (("rprop", 1.0), ("adam", 0.01)) for k in (0, 50, 100)]  # fmt: skip
    table = pd.DataFrame(rows).assign(low=np.nan, high=np.nan, n=5)
    ((_, x, _),) = figures.learning_curves(table, measure="loss", against="epochs").inline().points
    assert x.log
    ((_, x, _),) = figures.learning_curves(table, measure="loss").inline().points
    assert not x.log
    svg = figures.learning_curves(table, measure="loss", against="epochs", palette=Palette(["rprop"])).inline().svg
    path = max(re.findall(r'<g data-s="0"><path d="([^"]*)"', svg), key=len)
    assert len(re.findall(r"-?[\d.]+", path)) == 4, "the point at 0, which has no logarithm, is left out"


def test_what_diverged_at_once_shows_how_far_it_was_to_go() -> None:
    table = pd.DataFrame({"optimizer": "sgd", "step": [0, 10, 100], "median": [0.0, np.inf, np.inf]})
    table = table.assign(low=np.nan, high=np.nan, n=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chart = figures.learning_curves(table, measure="loss")
        assert "1e" not in words(chart.svg()), "limits about one value are as wide as can be read"
    ((_, x, _),) = chart.inline().points
    assert x.low < x.a + 100 * x.b < x.high


def test_what_has_values_at_0_alone_says_so_where_the_axis_is_logarithmic() -> None:
    rows = [{"optimizer": n, "median": 2.0 if k == 0 else np.inf, "epochs": k * each}
            for n, each in (("rprop", 1.0), ("adam", 0.01)) for k in (0, 50, 100)]  # fmt: skip
    table = pd.DataFrame(rows).assign(low=np.nan, high=np.nan, n=5)
    assert "No data" in words(figures.learning_curves(table, measure="loss", against="epochs").svg())


def test_equal_values_are_bold_alike() -> None:
    table = pd.DataFrame({"optimizer": "sgd", "initializer": ["a", "b", "c"], "median": [0.25, 0.25 + 1e-9, 0.5]})
    svg = figures.heat_map(table, better="lower").svg()
    bold = [text for look, text in re.findall(r"<text([^>]*)>([\d.]+)</text>", svg) if "bold" in look or "700" in look]
    assert bold == ["0.2500", "0.2500"]


def test_the_key_of_bars_is_within_the_figure_beside_long_names() -> None:
    names = [f"schedule_free_optimizer_{i}" for i in range(12)]
    parts = dict.fromkeys(("data", "forward", "backward", "curvature", "update"), 1e-4)
    svg = figures.cost_bars(pd.DataFrame([{"optimizer": n, **parts} for n in names]), parts=tuple(parts)).svg()
    width = float(re.findall(r'viewBox="0 0 ([\d.]+)', svg)[0])
    ((at, said),) = re.findall(r'<text[^>]*(?: x="|translate\()([\d.]+)[^>]*>(update[^<]*)</text>', svg)
    assert float(at) + 4.4 * len(said) < width


def test_no_two_figures_of_a_notebook_share_an_identity() -> None:
    """Its page has the SVG of all: what one clips, or draws again, must not be taken from another."""
    texts = [chart.svg() for chart in (lines(3), lines(4), lines(20, ["n1"]), beside("b", "", [lines(3), lines(4)]))]
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in texts]
    assert all(ids) and len(set.union(*ids)) == sum(map(len, ids))
    for text, own in zip(texts, ids, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) == own
    assert lines(3).svg() == texts[0]
