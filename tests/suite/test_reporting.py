"""``report``, ``figures`` and ``table`` as a person calls them, on results that are made up."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result
from fake_engine import bowl
from reported import NAMES, Timed, made_up

import suite
from analysis.figures import PARTS, Palette
from analysis.report import Cell, Column, Table, forms
from problems.problem import problem
from suite import records
from suite.cli import cli
from suite.optimizers import optimizer
from suite.reporting import figures
from suite.reporting.contests import MEASURED, contests
from suite.reporting.cost_tables import cost_tables
from suite.reporting.evidence import Evidence
from suite.spec import Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up(tmp_path_factory.mktemp("results"), "digits_mlp")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up(tmp_path_factory.mktemp("two"))


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


class Page(HTMLParser):
    """Addresses, identities and words of a page, and whether its tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids += [found["id"]] if found.get("id") else []
        self.addresses += [found[key] or "" for key in ("href", "src", "xlink:href", "action") if key in found]
        if tag not in ("meta", "link", "br", "wbr", "path", "use", "rect", "img", "stop"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)


# report ---------------------------------------------------------------------------------


def test_the_page_stands_alone_and_says_what_won(two: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = call("report", "--results", str(two), "--out", str(tmp_path / "page.html"))
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {address for address in page.addresses if not address.startswith("#")} == {"data:,"}
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    words = " ".join(page.words)
    for name in (*NAMES, "digits_mlp", "linear_regression", "Sensitivity to lr", "a processor", "c0ffee"):
        assert name in words
    for heading in ("At a glance", "What a step costs", "Gradients and curvature", "Runs beside the comparisons"):
        assert heading in words
    assert "seconds on a processor, 1 thread" in words
    assert len(text) < 2_000_000


def test_the_page_is_the_same_bytes_each_time(results: Path, tmp_path: Path) -> None:
    pages = [tmp_path / f"{i}.html" for i in range(2)]
    for page in pages:
        call("report", "--results", str(results), "--out", str(page))
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_the_page_lies_in_the_results_unless_told_otherwise(results: Path) -> None:
    assert call("report", "--results", str(results)).stdout.strip() == str(results / "report.html")
    (results / "report.html").unlink()


@pytest.mark.parametrize("command", ["report", "figures", "table"])
def test_no_results_is_said(tmp_path: Path, command: str) -> None:
    done = call(command, "--results", str(tmp_path))
    assert done.exit_code == 2
    assert "no results in it yet; python -m suite compare makes some" in done.stderr
    done = call(command, "--results", str(tmp_path / "nowhere"))
    assert done.exit_code == 2
    assert "no such folder of results" in done.stderr


def test_bars_have_the_curvature_that_a_step_asks_for(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "costs", tmp_path / "costs")
    for file in (tmp_path / "costs").glob("*.json"):
        cost = json.loads(file.read_text())
        file.write_text(json.dumps({**cost, "parts": {**cost["parts"], "curvature": 2 * cost["seconds"]}}))
    ((chart,),) = figures.costs(Evidence.read(str(tmp_path)), Palette(())).values()
    table = chart.table.set_index("optimizer")
    assert table.loc["adam", "curvature"] == pytest.approx(2 / 3 * 1e-4)
    assert table.loc["adam", list(PARTS)].sum() == pytest.approx(1e-4)
    page = tmp_path / "page.html"
    call("report", "--results", str(tmp_path), "--out", str(page))
    assert "curvature" in page.read_text() and "The machine" in page.read_text()


def test_optimizers_by_problems_have_the_cheapest_first(results: Path, tmp_path: Path) -> None:
    """With how many times the cheapest they take, over the problems that they were measured on alike."""
    first, *_ = (json.loads(file.read_text()) for file in (results / "costs").glob("*.json"))
    seconds = {
        ("adam", "digits_mlp", 32): 4e-4,
        ("adam", "saddle", 32): 1e-4,
        ("sgd", "digits_mlp", 32): 1e-4,
        ("sgd", "saddle", 32): 5e-5,
        ("rprop", "digits_mlp", 0): 1e-5,
    }
    for i, ((name, at, size), each) in enumerate(seconds.items()):
        text = {"optimizer": str(optimizer.bind(name)), "problem": str(problem.bind(at)), "batch_size": size}
        records.save(
            {**first, **text, "seconds": each, "replayed": each / 2 if i else None}, tmp_path / "costs", str(i)
        )
    matrix, every = cost_tables(Evidence.read(str(tmp_path)))
    assert [column.name for column in matrix.columns] == ["optimizer", "relative", "saddle", "digits_mlp"]
    said = [[f"{cell.text} {cell.note}".strip() for cell in row] for row in matrix.rows]
    assert said == [
        ["sgd", "1", "50 µs", "100 µs"],
        ["adam", "2.83", "100 µs", "400 µs"],
        ["rprop", "", "", "10 µs full batches"],
    ]
    at = [column.name for column in every.columns].index("as a graph")
    assert sorted(row[at].text for row in every.rows) == ["", "25 µs", "5 µs", "50 µs", "50 µs"]
    assert "A step on each problem" in call("table", "costs", "--results", str(tmp_path)).stdout


def test_costs_or_spectra_alone_make_a_page(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "costs", tmp_path / "costs")
    done = call("report", "--results", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "no comparison yet" in (tmp_path / "report.html").read_text()


def test_an_unwritable_place_is_told(results: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    done = call("report", "--results", str(results), "--out", str(tmp_path / "taken" / "page.html"))
    assert done.exit_code == 1
    assert "cannot be written" in done.stderr


def test_help_is_quick() -> None:
    script = """
import sys
from suite.cli import cli
for words in (["report", "--help"], ["figures", "--help"], ["table", "--help"]):
    try:
        cli(words)
    except SystemExit:
        pass
assert not {"torch", "pandas", "matplotlib", "jinja2"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


# figures --------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "start"), [("svg", b"<?xml"), pytest.param("pdf", b"%PDF", marks=pytest.mark.slow)])
def test_every_figure_is_a_file(results: Path, tmp_path: Path, form: str, start: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = call("figures", "--results", str(results), "--out", str(tmp_path), "--format", form)
    assert done.exit_code == 0, done.output
    files = [Path(line) for line in done.stdout.splitlines()]
    assert len(files) == len(set(files)) >= 10
    assert all(file.read_bytes().startswith(start) for file in files)
    if form == "svg":
        for file in files:
            ET.parse(file)


def test_figures_of_two_comparisons_on_one_problem_have_names_of_their_own(tmp_path: Path) -> None:
    from analysis.figures import Palette
    from suite.reporting import contests, figures
    from suite.reporting.evidence import Evidence

    made_up(tmp_path, "digits_mlp")
    made_up(tmp_path, "digits_mlp", target="0.9")
    evidence = Evidence.read(str(tmp_path))
    found = contests.every(evidence)
    assert len(found) == 2
    names = [chart.name for chart in figures.every(evidence, found, Palette(dict.fromkeys(evidence.names())))]
    assert len(names) == len(set(names))
    assert {"digits-mlp-tuning", "digits-mlp-tuning-2"} <= set(names)


# tables ---------------------------------------------------------------------------------


def test_the_table_has_what_compare_printed_in_every_form(results: Path) -> None:
    (record,) = suite.load_comparisons(str(results))
    rows = {(row["problem"], row["optimizer"], row["initializer"]): row for row in record["rows"]}
    found = list(csv.DictReader(io.StringIO(call("table", "--results", str(results), "--format", "csv").stdout)))
    assert len(found) == len(rows)
    for row in found:
        known = rows[row["problem"], row["optimizer"], row["initializer"]]
        final = known["final"][row["ranked_by"]]
        assert float(row[row["ranked_by"]]) == final["value"]
        assert float(row[f"{row['ranked_by']}_low"]) == final["low"]
        assert row["verdict"] == known["verdict"]
        assert int(row["n"]) == 12
    plain = json.loads(call("table", "--results", str(results), "--format", "json").stdout)
    assert [row["optimizer"] for row in plain] == [row["optimizer"] for row in found]
    for form in ("text", "markdown", "latex"):
        shown = call("table", "--results", str(results), "--format", form).stdout
        assert "best" in shown and "tied" in shown
    assert r"digits\_mlp" in shown and r"\toprule" in shown


def test_tables_come_from_the_folder_alone(results: Path, tmp_path: Path) -> None:
    """On another machine: another folder, no data, and the optimizers' definitions changed or gone."""
    elsewhere = tmp_path / "copied"
    shutil.copytree(results, elsewhere)
    for file in (elsewhere / "comparisons").glob("*.json"):
        file.write_text(file.read_text().replace("clip(sgd, norm=1.0)", "mine.py:Lost"))
    words = [sys.executable, "-m", "suite", "table", "--results", str(elsewhere), "--format", "csv"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path), "SUITE_DATA": str(tmp_path)}
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    here = call("table", "--results", str(results), "--format", "csv").stdout
    assert done.stdout.replace("mine.py:Lost", "X") == here.replace('"clip(sgd, norm=1.0)"', "X")


@pytest.mark.parametrize("kind", ["costs", "spectra", "runs"])
def test_the_other_tables(results: Path, kind: str) -> None:
    for form in ("text", "csv", "json", "markdown", "latex"):
        done = call("table", kind, "--results", str(results), "--format", form)
        assert done.exit_code == 0, done.output
        assert "digits" in done.stdout


def test_what_a_folder_lacks_is_said(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "runs", tmp_path / "runs")
    assert "no comparison was finished" in call("table", "--results", str(tmp_path)).stderr
    done = call("table", "costs", "--results", str(tmp_path))
    assert done.exit_code == 2 and "there are no costs in these results" in done.stderr


def test_forms_escape_what_they_must() -> None:
    table = Table(
        "t", "T_1", [Column("a|b"), Column("n", True)], [[Cell("x_1 & y|z"), Cell("5 %", note="±1")]], "Said."
    )
    assert str(forms.markdown(table)).splitlines()[0] == r"| a\|b | n |"
    assert forms.markdown(table).rows == [r"| x_1 & y\|z | 5 % ±1 |"]
    assert forms.latex(table).rows == [r"x\_1 \& y$|$z & 5 \% $\pm$1 \\"]
    assert str(forms.latex(table)).splitlines()[:3] == [r"% T\_1", "% Said.", r"\begin{tabular}{lr}"]
    assert forms.text(table).splitlines() == ["T_1", "", "a|b             n", "x_1 & y|z  5 % ±1", "", "Said."]


def test_notes_that_would_read_on_from_their_cell_are_in_parentheses() -> None:
    cells = [[Cell("51", note="11 of 15"), Cell("1 ms", note="± 2 µs"), Cell("", note="full batches")]]
    table = Table("t", "T", [Column("steps", True), Column("a step", True), Column("")], cells, "Said.")
    [row] = forms.markdown(table).rows
    assert row == "| 51 (11 of 15) | 1 ms ± 2 µs | full batches |"


def test_forms_mark_what_is_best_and_tied_in_a_ranked_table() -> None:
    cells = [[Cell("a_1", tone="best")], [Cell("b", tone="tied")], [Cell("c", tone="worse")]]
    table = Table("t", "T", [Column("n", True)], cells, "Said.", ranked=True)
    assert forms.markdown(table).rows == ["| **a_1** |", "| *b* |", "| c |"]
    assert forms.latex(table).rows == [r"\textbf{a\_1} \\", r"\textit{b} \\", r"c \\"]
    assert forms.text(table).splitlines()[3:] == [
        "a_1*",
        "  b=",
        "  c",
        "",
        "Said. * is the best, = cannot be told from it.",
    ]


# what they rest on ----------------------------------------------------------------------


def test_curves_are_medians_over_seeds(results: Path) -> None:
    evidence = Evidence.read(str(results))
    _, traces = suite.load(str(results))
    contest = contests(evidence, evidence.compared[0])[0]
    table = contest.curves("test_loss")
    row = contest.leading[0]
    own = traces[traces["run"].isin(row["runs"]) & (traces["measure"] == "test_loss") & (traces["step"] == 20)]
    point = table[(table["optimizer"] == row["optimizer"]) & (table["step"] == 20)].iloc[0]
    assert point["median"] == pytest.approx(own["value"].median())
    assert point["low"] <= point["median"] <= point["high"]
    assert point["n"] == 12 == len(own)
    priced = contest.curves("test_loss", "a processor, 1 thread")
    assert set(priced["optimizer"]) == {"adam", "sgd"}
    each = priced[priced["step"] == 40].set_index("optimizer")["seconds"]
    assert each["adam"] == pytest.approx(40 * 1e-4) and each["sgd"] == pytest.approx(40 * 2e-4)


def test_timed_runs_are_drawn_against_their_own_clock(tmp_path: Path) -> None:
    folder = made_up(tmp_path / "results", "digits_mlp", engine=Timed(), target="test_accuracy>=0.5")
    evidence = Evidence.read(str(folder))
    contest = contests(evidence, evidence.compared[0])[0]
    assert contest.machines == [MEASURED, "a processor, 1 thread"]
    table = contest.curves("test_loss", MEASURED)
    last = table[table["step"] == 40].set_index("optimizer")["seconds"]
    each = sorted((1 + 0.5 * (evidence.by_run.loc[list(contest.leading[0]["runs"]), "seed"] % 10)) / 80)
    assert set(last.index) == set(NAMES)
    assert last["adam"] == pytest.approx(40 * (each[5] + each[6]) / 2)
    for row in contest.verdicts().to_dict("records"):
        assert row["step_seconds [measured]"] == pytest.approx(last["adam"] / 40)
        assert row["seconds_to_target [measured]"] == pytest.approx(row["steps_to_target"] * each[5])
    call("report", "--results", str(folder), "--out", str(tmp_path / "page.html"))
    text = (tmp_path / "page.html").read_text()
    assert "measured seconds" in text and "By the clock of runs that trained alone" in text
    assert "Gradient norm on digits_mlp" in text and "Seconds on digits_mlp" not in text


def test_sensitivity_is_the_final_value_of_each_trial(results: Path) -> None:
    evidence = Evidence.read(str(results))
    contest = contests(evidence, evidence.compared[0])[0]
    table = contest.sensitivity("lr")
    own = table[table["optimizer"] == "adam"]
    assert len(own) == 5
    for point in own.to_dict("records"):
        run = Run.make("digits_mlp", f"adam(lr={point['value']!r})", seed=1_000_000)
        assert point["median"] == pytest.approx(1 / (1 + bowl(run)), rel=1e-2)


def test_an_earlier_comparison_that_a_later_one_takes_in_is_left_out(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "r")
    (file,) = (tmp_path / "r" / "comparisons").glob("*.json")
    earlier = json.loads(file.read_text())
    earlier["rows"] = earlier["rows"][:2]
    earlier["finished"] = "2000-01-01T00:00:00+00:00"
    (file.parent / "earlier.json").write_text(json.dumps(earlier))
    assert len(Evidence.read(str(tmp_path / "r")).compared) == 1
    earlier["question"]["steps"] = 7
    (file.parent / "earlier.json").write_text(json.dumps(earlier))
    assert len(Evidence.read(str(tmp_path / "r")).compared) == 2
    page = tmp_path / "page.html"
    assert call("report", "--results", str(tmp_path / "r"), "--out", str(page)).exit_code == 0
    ids = Page(page.read_text()).ids
    assert len(ids) == len(set(ids))


def test_names_are_escaped(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "r")
    (file,) = (tmp_path / "r" / "comparisons").glob("*.json")
    file.write_text(file.read_text().replace('"adam"', '"</script><b>adam"'))
    page = tmp_path / "page.html"
    assert call("report", "--results", str(tmp_path / "r"), "--out", str(page)).exit_code == 0
    assert not re.search(r"<b>adam", page.read_text())
