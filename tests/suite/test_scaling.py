"""Problems that differ in one number, side by side: which they are, what their tables say, that the page shows them."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from fake_engine import FakeEngine

from problems.names import parse
from suite import comparisons
from suite.cli import cli
from suite.ledger import Ledger
from suite.outcome import compare
from suite.plan import Question, plan
from suite.reporting.contests import every
from suite.reporting.evidence import Evidence
from suite.reporting.scaling import Series, _numbers, scaling_charts, scaling_tables, series
from suite.spec import Run
from suite.store import Store

DEPTHS = (3, 10, 30)
STARTS = "orthogonal, gaussian(std=0.05)"


def loss(run: Run) -> float:
    """From orthogonal weights every depth comes below the target of 0.015, from Gaussian ones the first alone."""
    depth = parse(run.problem).options.get("depth", 1)
    return 0.0 if run.initializer.startswith("orthogonal") or depth == DEPTHS[0] else float(depth)


def carried_out(folder: Path, problems: str, **asked: object) -> None:
    question = Question(problems, "sgd", STARTS, trials=2, seeds=6, steps=40, **asked)  # type: ignore[arg-type]
    ledger = Ledger(Store(folder), train=FakeEngine(loss))
    comparisons.save(compare(plan(question), ledger, lambda phase, runs: lambda p: None), folder)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three depths, of which the last was compared by itself, and a problem that is of no series."""
    folder = tmp_path_factory.mktemp("results")
    nets = [f"linear_net(depth={depth}, hidden=16)" for depth in DEPTHS]
    carried_out(folder, f"{nets[1]}, {nets[0]}, quadratic")
    carried_out(folder, nets[2])
    return folder


@pytest.fixture(scope="module")
def depths(results: Path) -> Series:
    (found,) = series(every(Evidence.read(str(results))))
    return found


def table(results: Path, *words: str) -> str:
    done = CliRunner().invoke(cli, ["table", "scaling", "--results", str(results), *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_problems_that_differ_in_one_number_are_a_series(depths: Series) -> None:
    assert depths.name == "linear_net(hidden=16) by depth"
    assert list(depths.contests) == list(DEPTHS)


def test_every_number_is_looked_at_but_seeds_also_inside_transforms() -> None:
    spec = parse("smooth(problem=net(depth=3, wide=True, widths=(1, 2), data_seed=0), scale=0.5)")
    assert [(path, value, str(rest)) for path, value, rest in _numbers(spec)] == [
        ("problem.depth", 3, "smooth(problem=net(wide=True, widths=(1, 2), data_seed=0), scale=0.5)"),
        ("scale", 0.5, "smooth(problem=net(depth=3, wide=True, widths=(1, 2), data_seed=0))"),
    ]


def test_a_grid_of_two_settings_is_a_series_along_each(tmp_path: Path) -> None:
    carried_out(tmp_path, ", ".join(f"linear_net(depth={d}, hidden={h})" for d in (2, 4) for h in (8, 16)))
    found = series(every(Evidence.read(str(tmp_path))))
    assert {(one.problem, one.varied, tuple(one.contests)) for one in found} == {
        ("linear_net", "depth", (2, 4)),
        ("linear_net(hidden=16)", "depth", (2, 4)),
        ("linear_net", "hidden", (8, 16)),
        ("linear_net(depth=4)", "hidden", (8, 16)),
    }


def test_cells_are_the_rows_of_the_comparisons(results: Path) -> None:
    rows = {(r["problem"], r["initializer"]): r for record in comparisons.load(results) for r in record["rows"]}
    found = list(csv.DictReader(io.StringIO(table(results, "--format", "csv"))))
    assert len(found) == 2 * len(DEPTHS)
    for cell in found:
        row = rows[f"linear_net(depth={cell['value']}, hidden=16)", cell["initializer"]]
        steps = math.inf if row["steps_to_target"] is None else row["steps_to_target"]
        assert (float(cell["steps_to_target"]), int(cell["reached"])) == (steps, row["reached_target"])
        assert float(cell["final"]) == row["final"]["train_loss"]["value"]
        assert cell["settings"].startswith("lr=")


def test_the_table_says_what_depth_costs(results: Path) -> None:
    lines = [line.split() for line in table(results).splitlines()]
    assert ["sgd", "orthogonal", "40", "40", "40", "1×"] in lines
    assert ["sgd", "gaussian(std=0.05)", "40", *2 * [">", "40", "(0", "of", "6)"], ">", "1×"] in lines


def test_growth_is_the_last_over_the_first(depths: Series) -> None:
    def slower(value: float, times: float) -> list:  # type: ignore[type-arg]
        contests = depths.contests[value]
        rows = [{**row, "steps_to_target": row["steps_to_target"] and times * 10} for row in contests[0].rows]
        return [replace(contests[0], rows=rows)]

    made = replace(depths, contests={value: slower(value, 1 + i) for i, value in enumerate(DEPTHS)})
    steps, final = scaling_tables(made, "t")
    assert [[cell.text for cell in row[2:]] for row in steps.rows] == [
        ["10", "20", "30", "3×"],
        ["10", "> 40", "> 40", "> 4×"],
    ]
    assert [row[-1].value for row in steps.rows] == [3.0, 1e300]  # by which they sort: bounds last
    assert [column.name for column in final.columns[2:]] == ["depth 3", "depth 10", "depth 30"]


def test_what_could_not_be_run_and_what_diverged_says_so(tmp_path: Path) -> None:
    engine = FakeEngine(lambda run: math.inf if "=10," in run.problem else 0.0, lambda r: "no" * ("=3," in r.problem))
    question = Question("linear_net(depth=3), linear_net(depth=10)", "sgd", "orthogonal", trials=2, seeds=6, steps=40)
    made = compare(plan(question), Ledger(Store(tmp_path), train=engine), lambda phase, runs: lambda p: None)
    comparisons.save(made, tmp_path)
    (one,) = series(every(Evidence.read(str(tmp_path))))
    steps, final = scaling_tables(one, "t")
    assert [cell.text for cell in steps.rows[0][2:]] == ["failed", "> 40", ""]
    assert [cell.text for cell in final.rows[0][2:]] == ["failed", "diverged"]


def test_figures_have_a_line_for_each_start(depths: Series) -> None:
    steps, final = scaling_charts(depths, "by-depth")
    assert "Not reached by most runs: gaussian(std=0.05) at 10, 30." in steps.caption
    assert set(steps.table["who"]) == {"orthogonal", "gaussian(std=0.05)"} == set(final.table["who"])


def test_the_page_and_the_figures_have_it(results: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["report", "--results", str(results), "--out", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "page.html").read_text()
    assert "linear_net(hidden=16) by depth: steps to target" in text and "Steps to target by depth" in text
    done = CliRunner().invoke(cli, ["figures", "--results", str(results), "--out", str(tmp_path)])
    assert "linear-net-hidden-16-by-depth-steps.svg" in done.stdout


def test_no_series_is_told(tmp_path: Path) -> None:
    carried_out(tmp_path, "linear_net(depth=3)")
    done = CliRunner().invoke(cli, ["table", "scaling", "--results", str(tmp_path)])
    assert done.exit_code == 2
    assert "no problems compared in these results differ in one number alone" in done.stderr
