"""Thirty optimizers on a page: few are in front of each figure, all can be found in it, and the page stays light."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from reported import thirty

from analysis.figures import FEW, FRONT, LIGHT, OWN, Chart, Palette
from analysis.report import Figure, Page, render
from suite.reporting import focus
from suite.reporting.contests import Contest, every, newest
from suite.reporting.evidence import Evidence
from suite.reporting.figures import curves, final
from suite.reporting.page import page as page_of
from suite.reporting.tables import glance

WEIGHT = 180_000  # bytes of a page for each problem that thirty optimizers were compared on


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return Evidence.read(str(thirty(tmp_path_factory.mktemp("many"))))


@pytest.fixture(scope="module")
def contests(evidence: Evidence) -> list[Contest]:
    return newest(every(evidence))


@pytest.fixture(scope="module")
def page(evidence: Evidence) -> Page:
    return page_of(evidence)


def charts(page: Page) -> Iterator[Chart]:
    for section in page.sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                yield from block.variants.values()


def labelled(chart: Chart) -> list[str]:
    """The names that a figure has in words."""
    words = re.findall(r"<text[^>]*>([^<]*)</text>", chart.inline().svg)
    return [word for word in words if word in set(chart.palette)]


def test_the_page_stays_light(contests: list[Contest], page: Page) -> None:
    assert len(page.series) == 30
    assert len(render(page).encode()) < WEIGHT * len(contests)


def test_numbers_stand_in_the_page_once(page: Page) -> None:
    text = render(page)
    tables = re.findall(r'<script type="application/json" id="(d\d+)">(.*?)</script>', text)
    assert len({table for _, table in tables}) == len(tables)
    used = set(re.findall(r'data-numbers="(d\d+)"', text)) | set(re.findall(r'"data":"(d\d+)"', text))
    assert used == {identity for identity, _ in tables}
    for _, table in tables:
        lengths = {sum(v["runs"][1::2]) if isinstance(v, dict) else len(v) for v in json.loads(table).values()}
        assert len(lengths) == 1


def test_every_optimizer_can_be_found_in_each_figure(page: Page) -> None:
    for chart in charts(page):
        assert chart.table is not None
        there = set(chart.table["optimizer"])
        inline = chart.inline()
        drawn = {int(k) for k in re.findall(r'data-s="(\d+)"', inline.svg)}
        pointed = {str(name) for points, *_ in inline.points for name in points.table[points.by]}
        names = list(chart.palette)
        assert there <= pointed | set(labelled(chart))
        assert pointed <= {names[k] for k in drawn}
        assert drawn <= set(range(30))
        titles = set(re.findall(r"<title>([^<]*)</title>", chart.svg()))
        assert pointed <= titles


def test_in_front_are_those_that_the_table_marks(contests: list[Contest], page: Page) -> None:
    table = glance(contests, page.series)
    for at, contest in enumerate(contests, 2):
        tones = {row[0].text: row[at].tone for row in table.rows}
        marked = {name for name, tone in tones.items() if tone in ("best", "tied")}
        assert 1 < len(marked) < 15, "the losses above do not make a few tie"
        for variants in curves(contest, page.palette):
            for chart in variants.values():
                shown = labelled(chart)
                assert len(shown) == len(set(shown)) <= FRONT + len(focus.REFERENCES)
                assert set(shown) - set(focus.REFERENCES) <= marked
                assert next(name for name, tone in tones.items() if tone == "best") in shown
                assert len(set(shown) & marked) >= min(FRONT, len(marked))
                assert set(focus.REFERENCES) <= set(shown)


def test_a_figure_of_final_values_has_every_name_in_words(contests: list[Contest], page: Page) -> None:
    for contest in contests:
        chart = final(contest, page.palette)
        assert set(labelled(chart)) == {row["optimizer"] for row in contest.leading}
        assert chart.table is not None
        assert list(chart.table.loc[chart.table["marked"], "optimizer"]) == focus.marked(contest)


def test_a_colour_is_one_optimizers_in_all_figures(page: Page) -> None:
    whose: dict[str, set[str]] = {}
    for chart in charts(page):
        for name in chart.palette:
            assert chart.palette.role(name) == page.palette.role(name)
            whose.setdefault(chart.palette.colour(name), set()).add(name)
    own = [names for colour, names in whose.items() if colour != LIGHT.series[OWN]]
    assert [len(names) for names in own] == [1] * OWN


def test_those_who_won_have_the_colours(contests: list[Contest], page: Page) -> None:
    winners = {focus.marked(contest)[0] for contest in contests}
    assert 1 < len(winners) <= OWN
    assert all(page.palette.own(name) for name in winners)


def test_who_is_in_front_is_said(contests: list[Contest], page: Page) -> None:
    for contest in contests:
        said = focus.told(page.palette, contest)
        tied = focus.marked(contest)[1:]
        front = focus.front(page.palette, contest)
        there = sum(map(front.leads, tied))
        assert f"{'all' if there == len(tied) else f'{there} of the'} {len(tied)} that cannot be told from it" in said
        assert said in [line for section in page.sections if section.title == contest.name for line in section.lead]


def test_of_few_all_are_in_front(contests: list[Contest]) -> None:
    names = [row["optimizer"] for row in contests[0].leading][:FEW]
    palette = focus.palette(names, contests)
    assert list(palette) == names
    assert focus.front(palette, contests[0]) is palette and focus.told(palette, contests[0]) == ""
    assert all(palette.leads(name) for name in names)


def test_definitions_of_ones_own_have_a_colour_and_stand_in_front_wherever_they_end(contests: list[Contest]) -> None:
    names = [row["optimizer"] for row in contests[0].leading]
    palette = focus.palette([*names, "mine.py:worst"], contests)
    assert palette.own("mine.py:worst") and focus.front(palette, contests[0]).leads("mine.py:worst")
    assert "with mine.py:worst, " in focus.told(palette, contests[0])
    several = focus.palette([*names, *(f"mine.py:{i}" for i in range(9))], contests)
    assert [name for name in several if name.startswith("mine") and several.own(name)] == ["mine.py:0", "mine.py:1"]
    assert several.own(focus.marked(contests[0])[0])


def test_figures_with_names_of_their_own_bring_few_forward_too() -> None:
    assert focus.ranked("ab", ord).leads("b") and list(focus.ranked("ba", ord)) == ["b", "a"]
    many = focus.ranked("zyxwvutsrqpo", ord)
    assert [name for name in many if many.leads(name)] == list("opqrst")
    probed = focus.among(Palette(), [f"n{i}" for i in range(30)] + ["sgd"])
    assert [name for name in probed if probed.leads(name)] == [*(f"n{i}" for i in range(FRONT)), "sgd"]
