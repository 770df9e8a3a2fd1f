"""The page in a browser: headless Chromium, without a network, as wide as a desk and as a phone."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from reported import NAMES, made_up, thirty

from analysis.figures import DARK, LIGHT
from analysis.numbers import number, plain
from suite import records
from suite.claims.base import claim, judged, typical
from suite.claims.carrying import FOLDER, _about, _plain
from suite.cli import cli

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = made_up(tmp_path_factory.mktemp("results"), "digits_mlp")
    done = CliRunner().invoke(cli, ["report", "--results", str(results)])
    assert done.exit_code == 0, done.output
    return results / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    yield from opened(browser, page_file, 1280, "light")


def opened(browser: Any, page_file: Path, width: int, scheme: str) -> Iterator[Any]:
    """The page; whatever it says on the console or asks of the network fails the test."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, accept_downloads=True
    )
    made = context.new_page()
    wrong: list[str] = []
    made.on("console", lambda message: wrong.append(message.text))
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
    made.goto(page_file.as_uri())
    yield made
    context.close()
    assert wrong == []


def column(page: Any, at: int) -> list[str]:
    """A column of the verdict table as it is shown."""
    return page.locator("#p-digits-mlp-verdicts tbody tr").evaluate_all(
        f"rows => rows.map(r => r.cells[{at}].innerText)"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_keeps_to_the_light_of_the_system(browser: Any, page_file: Path, width: int, scheme: str) -> None:
    for page in opened(browser, page_file, width, scheme):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper = page.evaluate("getComputedStyle(document.querySelector('.block')).backgroundColor")
        expected = {"light": LIGHT, "dark": DARK}[scheme].paper
        assert paper == f"rgb({', '.join(str(int(expected[i : i + 2], 16)) for i in (1, 3, 5))})"
        for box in page.locator(".chart:not([hidden]) svg").evaluate_all(
            "all => all.map(s => [s.getBoundingClientRect().width, s.getBoundingClientRect().right])"
        ):
            assert 200 < box[0] <= width and box[1] <= width
        smallest = page.evaluate(
            "Math.min(...[...document.querySelectorAll('.chart:not([hidden]) svg text')]"
            ".map(t => parseFloat(getComputedStyle(t).fontSize) * Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b)))"
        )
        assert smallest > 7.5


@pytest.mark.parametrize("width", [390, 700, 1060, 1280])
def test_what_claims_come_to_is_drawn_and_nothing_lies_over_it(browser: Any, width: int, tmp_path: Path) -> None:
    values = [1e-06 * 1.37**k for k in range(-12, 3)]
    found = [typical("difference between two ends, wide / narrow, in nets of any depth", values, below=1)]
    record = _about(claim.bind("wide_nets_end_low"), 100) | {"verdict": judged(found)}
    records.save({**record, "observations": [_plain(each, 0.95) for each in found]}, tmp_path / FOLDER, "")
    assert CliRunner().invoke(cli, ["report", "--results", str(tmp_path)]).exit_code == 0
    for page in opened(browser, tmp_path / "report.html", width, "light"):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = page.locator(".statements dl div > dt, .statements dd > *").evaluate_all(
            "all => all.map(e => { const r = document.createRange(); r.selectNodeContents(e);"
            "const b = (e.className === 'span' ? e : r).getBoundingClientRect();"
            "return [b.left, b.top, b.right, b.bottom]; })"
        )
        assert len(boxes) == 4 and all(right - left > 40 for left, _, right, _ in boxes)
        for one, other in combinations(boxes, 2):
            beside = one[2] <= other[0] + 1 or other[2] <= one[0] + 1
            assert beside or one[3] <= other[1] + 2 or other[3] <= one[1] + 2, (one, other)


def test_light_and_dark_can_be_switched(page: Any) -> None:
    def paper() -> str:
        return page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper')").strip()

    assert paper() == LIGHT.paper
    page.click(".theme")
    assert paper() == DARK.paper
    page.click(".theme")
    assert paper() == LIGHT.paper


def test_tables_sort_by_number_and_by_name(page: Any) -> None:
    heads = page.locator("#p-digits-mlp-verdicts th")
    names = [text.strip() for text in heads.all_inner_texts()]
    at = names.index("test accuracy")
    shown = column(page, at)
    values = [float(text.split()[0]) for text in shown]
    assert values == sorted(values, reverse=True)
    heads.nth(at).locator("button").click()
    assert [float(text.split()[0]) for text in column(page, at)] == sorted(values)
    assert heads.nth(at).get_attribute("aria-sort") == "ascending"
    heads.nth(at).locator("button").click()
    assert [float(text.split()[0]) for text in column(page, at)] == sorted(values, reverse=True)
    heads.nth(0).locator("button").click()
    sorted_names = [text.split()[0] for text in column(page, 0)]
    assert sorted_names == sorted(sorted_names)
    assert page.locator("#p-digits-mlp-verdicts th[aria-sort]").count() == 1


def test_steps_and_seconds_are_switched_for_all_figures(page: Any) -> None:
    figures = page.locator("figure:has(.switch)")
    assert figures.count() >= 2
    words = "seconds on a processor, 1 thread"
    figures.first.get_by_role("button", name=words).click()
    for i in range(figures.count()):
        shown = figures.nth(i).locator(".chart:not([hidden])")
        assert shown.count() == 1
        assert shown.get_attribute("data-variant") == words
        assert "seconds" in (shown.locator("svg").text_content() or "")
    figures.nth(1).get_by_role("button", name="steps").click()
    assert figures.first.locator(".chart:not([hidden])").get_attribute("data-variant") == "steps"


def test_an_optimizer_is_brought_forward_everywhere(page: Any) -> None:
    assert set(page.locator(".key button").all_inner_texts()) == set(NAMES)

    def faint() -> set[str]:
        return set(
            page.locator("figure:has(.switch) .chart:not([hidden]) [data-s]").evaluate_all(
                "all => all.filter(e => getComputedStyle(e).opacity < 0.5).map(e => e.dataset.s)"
            )
        )

    assert faint() == set()
    page.locator(".key button").first.click()
    assert faint() == {"1", "2"}
    page.locator(".key button").nth(1).click()
    assert faint() == {"2"}
    for i in range(2):
        page.locator(".key button").nth(i).click()
    assert faint() == set()


def test_figures_say_the_values_that_are_pointed_at(page: Any) -> None:
    svg = page.locator("figure:has(.switch) .chart:not([hidden]) svg").first
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    assert page.locator("#tip").is_hidden()
    page.mouse.move(box["x"] + box["width"] * 0.45, box["y"] + box["height"] * 0.4)
    said = page.locator("#tip").inner_text()
    assert re.search(
        r"^(adam|sgd|clip\(sgd, norm=1\.0\))\nstep \d+\ntest accuracy 0\.\d+ \[0\.\d+, 0\.\d+\]\nruns 12$", said
    )
    page.mouse.move(2, 2)
    assert page.locator("#tip").is_hidden()


@pytest.fixture(scope="module")
def many_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = thirty(tmp_path_factory.mktemp("many"))
    assert CliRunner().invoke(cli, ["report", "--results", str(results)]).exit_code == 0
    return results / "report.html"


@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_of_many_fits_and_can_be_read(browser: Any, many_file: Path, width: int) -> None:
    for page in opened(browser, many_file, width, "dark"):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        smallest = page.locator(".chart:not([hidden]) svg text").evaluate_all(
            "all => Math.min(...all.map(t => [parseFloat(getComputedStyle(t).fontSize), t.getScreenCTM()])"
            "  .map(([size, at]) => size * Math.hypot(at.a, at.b)))"
        )
        assert smallest > 7.5


def test_a_line_behind_is_named_and_comes_forward_when_pointed_at(browser: Any, many_file: Path) -> None:
    for page in opened(browser, many_file, 1280, "light"):
        chart = page.locator("#p-digits-mlp figure .chart:not([hidden])").first
        chart.scroll_into_view_if_needed()
        line = chart.locator(".behind").first
        name = page.locator(f".key [data-k='{line.get_attribute('data-s')}']").inner_text()
        quiet = line.locator("path").evaluate("path => getComputedStyle(path).stroke")
        place = line.locator("path").evaluate(
            "path => { const end = path.getPointAtLength(path.getTotalLength()).matrixTransform(path.getScreenCTM());"
            " return [end.x, end.y]; }"
        )
        page.mouse.move(*place)
        assert page.locator("#tip").inner_text().startswith(f"{name}\nstep 400\n")
        assert line.locator("path").evaluate("path => getComputedStyle(path).stroke") != quiet
        assert chart.locator(".near").count() == 1
        page.mouse.move(2, 2)
        assert line.locator("path").evaluate("path => getComputedStyle(path).stroke") == quiet


def test_of_many_those_chosen_take_colours_that_are_free(browser: Any, many_file: Path) -> None:
    for page in opened(browser, many_file, 1280, "light"):

        def hue(what: str, page: Any = page) -> str:
            return page.locator(what).first.evaluate("e => getComputedStyle(e).backgroundColor")

        def stroke(k: int, page: Any = page) -> str:
            return page.locator(f"#p-digits-mlp figure svg [data-s='{k}'] path").first.evaluate(
                "path => getComputedStyle(path).stroke"
            )

        own, grey = page.locator(".key [data-own='1']"), page.locator(".key [data-own='0']")
        assert own.count() + grey.count() == 30
        first, before = hue(".key [data-k='0'] i"), stroke(20)
        page.click(".key [data-k='0']")
        page.click(".key [data-k='20']")
        page.click(".key [data-k='25']")
        taken = [hue(f".key [data-k='{k}'] i") for k in (0, 20, 25)]
        assert taken[0] == first and len(set(taken)) == 3
        assert [stroke(20), stroke(25)] == taken[1:]
        for k in (0, 20, 25):
            page.click(f".key [data-k='{k}']")
        assert stroke(20) == before and hue(".key [data-k='20'] i") == hue(".key [data-k='21'] i")


def test_numbers_read_as_everywhere_else(page: Any) -> None:
    stream = random.Random(0)
    values = [stream.choice([-1, 1]) * 10 ** stream.uniform(-8, 8) for _ in range(500)]
    values += [0.0, 1.0, 9999.6, 1e5, 1e-3, 0.0099999, -0.99996]
    assert page.evaluate("values => values.map(number)", values) == [number(value) for value in values]
    assert page.evaluate("values => values.map(plain)", [3.0, 0.25, "x"]) == [plain(v) for v in (3.0, 0.25, "x")]


def test_tables_are_copied_in_three_forms(page: Any, page_file: Path) -> None:
    def printed(form: str) -> str:
        return CliRunner().invoke(cli, ["table", "--format", form, "--results", str(page_file.parent)]).stdout

    page.evaluate("navigator.clipboard.writeText = async text => { window.copied = text; }")
    table = page.locator("#p-digits-mlp-verdicts")

    def copied(form: str) -> list[str]:
        table.get_by_role("button", name=form).click()
        return page.evaluate("window.copied").splitlines()

    rows = table.locator("tbody tr").count()
    plain = copied("CSV")
    assert plain[0].startswith("optimizer,start,verdict,test accuracy,")
    assert len(plain) == 1 + rows
    assert any(line.startswith('"clip(sgd, norm=1.0) ') for line in plain)
    for form in ("Markdown", "LaTeX"):
        assert "\n".join(copied(form)) in printed(form.lower())
    before = copied("LaTeX")
    table.get_by_role("columnheader", name="optimizer").get_by_role("button").click()
    after = copied("LaTeX")
    assert sorted(before) == sorted(after) and after != before
    names = [line.partition(" & ")[0] for line in after if line.endswith(r"\\")][1:]
    assert names == sorted(names, key=str.lower) and r"clip(sgd, norm=1.0)" in names[-3]


def test_figures_are_saved(page: Any, tmp_path: Path) -> None:
    figure = page.locator("figure:has(.switch)").first
    for form, start in (("SVG", b"<svg"), ("PNG", b"\x89PNG"), ("CSV", b"optimizer,step,median")):
        with page.expect_download() as saved:
            figure.get_by_role("button", name=form, exact=True).click()
        path = tmp_path / saved.value.suggested_filename
        saved.value.save_as(path)
        assert path.read_bytes().startswith(start)
        assert path.name == f"digits-mlp-test-accuracy-by-steps.{form.lower()}"
        if form == "SVG":
            ET.parse(path)
            assert "var(" not in path.read_text() and LIGHT.series[0] in path.read_text()


def test_files_have_their_title_and_name_grey_lines(browser: Any, many_file: Path, tmp_path: Path) -> None:
    for page in opened(browser, many_file, 1280, "light"):
        figure = page.locator("#p-digits-mlp figure:has(.behind)").first
        with page.expect_download() as saved:
            figure.get_by_role("button", name="SVG", exact=True).click()
        saved.value.save_as(tmp_path / "saved.svg")
        root = ET.parse(tmp_path / "saved.svg").getroot()
        texts = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
        at = next(i for i, text in enumerate(texts) if text.startswith("In grey, from the top: "))
        assert texts[at - 1] == "Test accuracy on digits_mlp"
        named = {name.strip() for name in " ".join(texts[at:]).partition(": ")[2].split(",")}
        behind = figure.locator(".chart:not([hidden]) .behind").evaluate_all("all => all.map(e => e.dataset.s)")
        key = page.locator(".key button").evaluate_all("all => all.map(b => [b.dataset.k, b.innerText])")
        assert named == {name for k, name in key if k in behind}
        page.goto((tmp_path / "saved.svg").as_uri())
        box = page.evaluate("(({x, y, width, height}) => [x, y, width, height])(document.documentElement.getBBox())")
        paper = [float(number) for number in root.attrib["viewBox"].split()]
        assert box == pytest.approx(paper, abs=0.01), "nothing reaches beyond the paper"


def test_it_prints_on_white_without_its_controls(page: Any) -> None:
    page.click(".theme")
    page.emulate_media(media="print")
    assert (
        page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper')").strip() == LIGHT.paper
    )
    assert page.locator(".theme").is_hidden() and page.locator(".tools").first.is_hidden()
    for drawn in (".dot", ".span", ".span b"):  # by their backgrounds, which browsers leave out otherwise
        assert page.locator(drawn).first.evaluate("each => getComputedStyle(each).printColorAdjust") == "exact"
    assert page.pdf()[:4] == b"%PDF"
