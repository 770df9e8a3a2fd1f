from __future__ import annotations

import itertools
import json
import re
import warnings
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from analysis import figures
from analysis.figures import DARK, LIGHT, Chart, Palette, Theme
from analysis.figures.axes import set_scale
from analysis.figures.labels import spread
from analysis.figures.slim import slim
from analysis.figures.style import spans_decades
from analysis.numbers import duration, plain, three, tick

NAMES = ["sgd", "momentum", "adam", "clip(sgd(lr=0.1), norm=1)"]
STEPS = list(range(0, 101, 20))
CURVES = pd.DataFrame(
    [
        {"optimizer": n, "step": k, "median": m, "low": 0.9 * m, "high": 1.1 * m, "n": 5, "seconds": 0.1 * k}
        for i, n in enumerate(NAMES)
        for k in STEPS
        for m in [(1 + i) * 10 ** (-k / 40)]
    ]
)
TRIALS = pd.DataFrame(
    [
        {
            "optimizer": n,
            "value": 10.0**v,
            "median": np.inf if v > 0 else 1 + v * v,
            "low": 1.0,
            "high": 9.0,
            "diverged": 0.5,
        }
        for n in NAMES
        for v in range(-4, 2)
    ]
)
PROFILE = pd.DataFrame([{"optimizer": n, "tau": t, "share": t / 4} for n in NAMES for t in (1.0, 2.0, 4.0)])
TUNING = pd.DataFrame(
    [
        {"optimizer": n, "trials": k, "expected": 1 / k, "low": 0.5 / k, "high": 2 / k}
        for n in NAMES
        for k in range(1, 6)
    ]
)
COSTS = pd.DataFrame(
    [
        {"optimizer": n, "data": 1e-5, "forward": 2e-5, "backward": 4e-5, "update": (1 + i) * 1e-5}
        for i, n in enumerate(NAMES)
    ]
)
MATRIX = pd.DataFrame(
    [
        {
            "optimizer": n,
            "initializer": s,
            "median": np.inf if (i, j) == (1, 1) else 0.1 + i + j,
            "low": 0.0,
            "high": 9.0,
        }
        for i, n in enumerate(NAMES)
        for j, s in enumerate(["default", "glorot_normal"])
    ]
)
FINAL = pd.DataFrame(
    [
        {"optimizer": n, "median": [0.1, 0.2, 5.0, np.inf][i], "low": 0.1, "high": 6.0, "marked": i < 2}
        for i, n in enumerate(NAMES)
    ]
)
NORMS = pd.DataFrame([{"optimizer": n, "step": k, "value": 1.0 + k % 7} for n in NAMES[:2] for k in range(400)])
GRID = np.linspace(-1, 20, 50)
SPECTRA = pd.DataFrame(
    [
        {
            "step": k, "matrix": "hessian", "loss": 2 - k / 100, "rate": 0.1, "stable_below": 20.0,
            "top": [20 - k / 10, 9.0], "bottom": [-1.0],
            "grid": GRID, "density": np.exp(-(GRID**2)), "negative": 0.3, "negative_low": 0.2, "negative_high": 0.4,
        }
        for k in (0, 10, 100)
    ]
)  # fmt: skip


def charts(empty: bool = False) -> list[Chart]:
    """One of each kind, of a table or of one without rows."""

    def rows(table: pd.DataFrame) -> pd.DataFrame:
        return table[:0] if empty else table

    palette = Palette(NAMES)
    return [
        figures.learning_curves(rows(CURVES), measure="test_loss", target=0.5, palette=palette),
        figures.learning_curves(rows(CURVES), measure="test_loss", against="seconds", palette=palette),
        figures.sensitivity(rows(TRIALS), setting="lr", measure="valid_loss", palette=palette),
        figures.performance_profile(rows(PROFILE), palette=palette),
        figures.tuning_curves(rows(TUNING), measure="valid_loss", palette=palette),
        figures.cost_bars(rows(COSTS), palette=palette),
        figures.heat_map(rows(MATRIX), palette=palette),
        figures.traces(rows(NORMS), palette=palette),
        figures.densities(rows(SPECTRA)),
        figures.course(rows(SPECTRA)),
        figures.index(rows(SPECTRA)),
        figures.ranking(rows(FINAL), measure="test_loss", palette=palette),
    ]


KINDS = range(len(charts()))


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# charts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_chart_is_the_same_bytes_each_time_and_well_formed(kind: int) -> None:
    first, second = charts()[kind], charts()[kind]
    assert first.svg() == second.svg()
    root = ET.fromstring(first.svg().encode())
    words = "".join(root.itertext())
    assert first.title in words
    assert not first.empty
    ids = re.findall(r' id="([^"]*)"', first.svg())
    assert len(ids) == len(set(ids))
    assert not re.search(r"\d{4}-\d{2}-\d{2}T", first.svg())


@pytest.mark.parametrize("kind", KINDS)
def test_an_inline_chart_takes_its_colours_from_the_page(kind: int) -> None:
    chart = charts()[kind]
    inline = chart.inline()
    root = ET.fromstring(inline.svg)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert "width" not in root.attrib
    assert "var(--" in inline.svg
    own = set(re.findall(r"#[0-9a-f]{6}", inline.svg))
    assert not own & set(LIGHT.roles.values())
    assert inline.marks or inline.points
    for x, y, text, _ in inline.marks:
        assert -1 <= x <= width + 1 and -1 <= y <= height + 1
        assert text.strip()
    json.dumps(inline.marks)
    for points, *axes in inline.points:
        for axis, end in zip(axes, (width, height), strict=True):
            assert 0 <= axis.low < axis.high <= end and np.isfinite(points.table[axis.column]).any()
        assert {column for _, column, _ in points.says} <= set(points.table)


@pytest.mark.parametrize("kind", KINDS)
def test_a_chart_without_data_says_so(kind: int) -> None:
    chart = charts(empty=True)[kind]
    assert chart.empty
    assert "No data: " in "".join(ET.fromstring(chart.svg().encode()).itertext())
    assert chart.inline().marks == chart.inline().points == []


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ending", figures.FORMATS)
def test_a_chart_is_saved_in_each_format(tmp_path: Path, ending: str, theme: Theme) -> None:
    path = charts()[0].save(tmp_path / f"curves.{ending}", theme)
    start = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}[ending]
    assert path.read_bytes().startswith(start)
    again = charts()[0].save(tmp_path / f"again.{ending}", theme)
    assert path.read_bytes() == again.read_bytes()


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"svg, pdf, png, got 'curves\.gif'"):
        charts()[0].save(tmp_path / "curves.gif")


def test_series_are_tagged_by_their_place_in_the_palette() -> None:
    svg = charts()[0].inline().svg
    assert set(re.findall(r'data-s="(\d+)"', svg)) == {"0", "1", "2", "3"}


def test_charts_beside_each_other_are_one() -> None:
    both = figures.beside("both", "Both", charts()[:2])
    words = "".join(ET.fromstring(both.svg().encode()).itertext())
    assert all(chart.title in words for chart in charts()[:2])
    assert both.table is not None and len(both.table) == 2 * len(CURVES)


def test_bars_of_steps_far_apart_show_shares() -> None:
    """Of a step of 0.1 ms beside one of 10 ms nothing would be seen; what each takes is written beside it."""
    near = "".join(ET.fromstring(figures.cost_bars(COSTS).svg().encode()).itertext())
    assert "microseconds a step" in near
    far = COSTS.assign(curvature=[0.01 * (n == NAMES[0]) for n in COSTS["optimizer"]])
    chart = figures.cost_bars(far, parts=("data", "forward", "backward", "curvature", "update"))
    words = "".join(ET.fromstring(chart.svg().encode()).itertext())
    assert "% of a step" in words and "10.1 ms" in words and chart.size[0] > figures.cost_bars(COSTS).size[0]


def test_diverged_pairs_say_so_and_infinities_do_not_stretch_axes() -> None:
    assert "diverged" in charts()[6].svg()
    ((_, _, axis),) = charts()[2].inline().points
    at = axis.a + axis.b * TRIALS["median"]
    assert ((axis.low <= at) & (at <= axis.high)).equals(np.isfinite(TRIALS["median"]))


def vertices(path: str) -> np.ndarray:
    """The vertices of an SVG path of lines, each told from the one before."""
    places: list[list[float]] = []
    for letter, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
        values = [float(v) for v in re.findall(r"-?[\d.]+", numbers)]
        for pair in zip(values[::2], values[1::2], strict=True):
            places.append([a + b for a, b in zip(pair, places[-1], strict=True)] if letter == "l" else list(pair))
    return np.array(places)


@given(st.lists(st.tuples(st.floats(-999, 999), st.floats(-999, 999)), min_size=1, max_size=20))
def test_a_slim_path_has_the_same_places(points: list[tuple[float, float]]) -> None:
    words = "M " + " \nL ".join(f"{x:.6f} {y:.6f}" for x, y in points) + " \n"
    found = ET.fromstring(slim(f'<svg><path d="{words}"/></svg>'))[0].attrib["d"]
    np.testing.assert_allclose(vertices(found), points, atol=0.0101)  # hundredths are cut off, not rounded
    assert len(found) <= len(words)


def test_curved_paths_are_left_as_they_are() -> None:
    found = slim('<svg><path d="M 0 1.5 C 0.4 1.5 0.77 1.34 1.06 1.06 L 2 3 z "/></svg>')
    assert found == '<svg><path d="M0 1.5C0.4 1.5 0.77 1.34 1.06 1.06l0.94 1.94z"/></svg>'


@pytest.mark.parametrize("kind", [0, 1, 2, 4])
def test_points_lie_on_the_lines_that_are_drawn(kind: int) -> None:
    """A page finds the place of a row along the axes; matplotlib drew the line through it."""
    chart = charts()[kind]
    inline = chart.inline()
    ((points, x, y),) = inline.points
    for name in NAMES:
        own = points.table[(points.table[points.by] == name) & np.isfinite(points.table[y.column].astype(float))]
        at = [a.a + a.b * (np.log10(own[a.column]) if a.log else own[a.column]) for a in (x, y)]
        paths = re.findall(rf'<g data-s="{chart.palette.place(name)}"><path d="([^"]*)"', inline.svg)
        line = max(map(vertices, paths), key=len)  # the other one leads to its name
        np.testing.assert_allclose(line, np.transpose(at), atol=0.02)


def many(front: list[str]) -> Chart:
    """Twenty lines, with some in front."""
    names = [f"n{i}" for i in range(20)]
    table = pd.concat(
        [CURVES[CURVES["optimizer"] == "sgd"].assign(optimizer=n, median=1.0 + i) for i, n in enumerate(names)]
    )
    return figures.learning_curves(table, measure="test_loss", palette=Palette(names).focus(front))


def test_of_many_few_are_in_front_and_the_others_are_quiet() -> None:
    svg = many(["n15", "n1", "n2"]).inline().svg
    assert re.findall(r"<text[^>]*>(n\d+)</text>", svg) == ["n1", "n2", "n15"]
    assert "17 others in grey" in svg
    assert len(re.findall(r'class="behind"', svg)) == 17
    assert svg.count("var(--quiet)") == 17
    assert {"var(--s1)", "var(--s2)", "var(--s7)"} <= set(re.findall(r"var\(--s\d\)", svg))
    assert svg.count("fill-opacity") == 2  # the intervals of the two that have a colour to themselves


def test_a_figure_of_many_by_itself_brings_the_first_forward() -> None:
    table = pd.concat([NORMS[NORMS["optimizer"] == "sgd"].assign(optimizer=f"n{i}") for i in range(12)])
    inline = figures.traces(table).inline()
    assert re.findall(r"<text[^>]*>(n\d+)</text>", inline.svg) == [f"n{i}" for i in range(6)]
    pointed = pd.DataFrame(inline.marks)[3].value_counts()
    assert len(pointed) == 12 and pointed.max() <= 60
    dotted = re.findall(r'<g data-s="(\d+)"><defs>', inline.svg)  # single measurements
    assert set(dotted) == set("012345")
    palette = Palette.of(NAMES)
    assert list(palette) == [] and not palette.many


def test_a_focus_keeps_colours_and_takes_six_and_those_beside_them() -> None:
    names = [f"n{i}" for i in range(20)]
    palette = Palette(names)
    focused = palette.focus(["n19", "n18", "n17", "n0", "n1", "n2", "n3", "n4", "n5"], beside=["n16"])
    assert [name for name in names if focused.leads(name)] == ["n0", "n1", "n2", "n3", "n4", "n16", "n19"]
    assert all(focused.colour(name) == palette.colour(name) for name in names)
    assert [palette.own(name) for name in names] == [True] * 7 + [False] * 13
    assert len({palette.colour(name) for name in names[:8]}) == 8 and palette.colour("n7") == palette.colour("n19")
    assert focused.shares(palette) and not focused.shares(Palette(names))
    few = Palette(names[:10])
    assert few.focus(["n3"]) is few and all(map(few.leads, names[:10]))


def test_what_is_quiet_can_be_seen_and_stands_back() -> None:
    for theme in (LIGHT, DARK):
        least = min(contrast(colour, theme.paper) for colour in theme.series)
        assert 1.5 < contrast(theme.quiet, theme.paper) < least - 0.5


def test_final_values_stand_beside_each_name_and_the_best_in_colour() -> None:
    svg = figures.ranking(FINAL, measure="test_loss", palette=Palette(NAMES)).svg()
    words = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert [word for word in words if word in NAMES] == NAMES
    assert [word for word in words if re.fullmatch(r"0\.[12]000|5\.000|diverged", word)] == [
        "0.1000", "0.2000", "5.000", "diverged",
    ]  # fmt: skip
    assert {LIGHT.series[0], LIGHT.series[1]} <= set(re.findall("#[0-9a-f]{6}", svg))
    assert not {LIGHT.series[2], LIGHT.series[3]} & set(re.findall("#[0-9a-f]{6}", svg))


# style ----------------------------------------------------------------------------------

# Machado, Oliveira & Fernandes 2009: what people with each kind of vision see, in linear sRGB.
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array(XYZ) @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def luminance(colour: str) -> float:
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour))


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("vision", list(VISION))
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_differ_for_every_kind_of_vision(theme: Theme, vision: str) -> None:
    seen = [lab(np.array(VISION[vision]) @ linear(colour)) for colour in theme.series]
    least = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    assert least > (40 if vision == "normal" else 15)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_stand_out_from_the_paper(theme: Theme) -> None:
    assert min(contrast(colour, theme.paper) for colour in theme.series) >= 3.5
    assert contrast(theme.ink, theme.paper) >= 12
    assert contrast(theme.muted, theme.paper) >= 4.5
    assert len(set(theme.roles.values())) == len(theme.roles)


def test_a_name_keeps_its_colour_and_the_ninth_is_dashed() -> None:
    for palette in (Palette(f"n{i}" for i in range(10)), Palette()):
        for i in range(10):
            palette.place(f"n{i}")
        assert palette.colour("n3") == palette.colour("n3") == LIGHT.series[3]
        assert palette.colour("n8") == palette.colour("n0")
        assert palette.dashes("n8") != palette.dashes("n0")
        assert len({(palette.colour(f"n{i}"), str(palette.dashes(f"n{i}"))) for i in range(10)}) == 10


@pytest.mark.parametrize(
    ("values", "log"),
    [([1, 100], True), ([1, 20], False), ([0, 1e6], False), ([-1, 1e6], False), ([1e-3, np.inf, 1], True), ([], False)],
)
def test_axes_are_logarithmic_where_values_span_decades(values: list[float], log: bool) -> None:
    assert spans_decades(values) == log


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_labels_keep_their_order_and_do_not_touch(heights: list[float]) -> None:
    at, least = np.array(heights), 0.066
    placed = spread(at, least)
    order = np.argsort(at, kind="stable")
    assert np.all(np.diff(placed[order]) >= least - 1e-9)
    assert placed.min() >= -1e-9 and placed.max() <= 1 + 1e-9
    offsets = np.arange(len(at)) * least
    nearest = np.clip(isotonic_regression(at[order] - offsets).x, 0, 1 - offsets[-1]) + offsets
    np.testing.assert_allclose(placed[order], nearest, atol=1e-9)


# numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0"), (1000.0, "1000"), (0.01, "0.01"), (1e-5, "10⁻⁵"), (3e6, "3·10⁶"), (1e5, "10⁵"), (-1e-6, "-10⁻⁶")],
)
def test_ticks(value: float, said: str) -> None:
    assert tick(value) == said


def test_durations_and_plain_numbers() -> None:
    assert [duration(s) for s in (2.5, 0.0321, 1.64e-4, 3e-9)] == ["2.5 s", "32.1 ms", "164 µs", "3 ns"]
    assert [duration(s) for s in (0.9997, 1234.5)] == ["1,000 ms", "1,234 s"]
    assert [three(v) for v in (0.00332, 84.13, 999.6, 9644.0)] == ["0.00332", "84.1", "1,000", "9,644"]
    assert [plain(v) for v in (100.0, 0.25, 7, "x")] == ["100", "0.2500", "7", "x"]


@pytest.mark.parametrize(("low", "high"), [(0.0188, 0.94), (0.26, 11), (1.1, 9.8), (1e-6, 1), (0.02, 1.9)])
def test_a_logarithmic_axis_has_numbers_to_read_values_by(low: float, high: float) -> None:
    figure = Figure()
    axis = figure.add_subplot()
    axis.plot([0, 1], [low, high])
    assert set_scale(axis, "y", [low, high], "log")
    bottom, top = axis.get_ylim()
    seen = [tick for tick in axis.yaxis.get_major_locator()() if bottom <= tick <= top]
    assert 3 <= len(seen) <= 8
