"""Pages and tables of results with no winner, no comparison, or nothing of a kind."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_engine import FakeEngine, bowl
from reported import ENVIRONMENT

from analysis.figures import FEW, LIGHT, OWN, Palette
from analysis.report import Figure, Page
from problems.problem import problem
from suite import comparisons, records
from suite.cli import cli
from suite.ledger import Ledger
from suite.optimizers import optimizer
from suite.outcome import compare
from suite.plan import Question, plan
from suite.reporting import focus, profiles
from suite.reporting.contests import every, newest
from suite.reporting.evidence import Evidence
from suite.reporting.page import page as page_of
from suite.spec import Run
from suite.store import Store
from suite.tables import mark

CHEAP = ("sgd", "momentum", "nesterov", "adam", "adamw", "nadam", "radam", "adamax", "adagrad", "adadelta", "rmsprop",
         "lion", "lamb")  # fmt: skip


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def page(folder: Path) -> Page:
    return page_of(Evidence.read(str(folder)))


def all_diverge(folder: Path, optimizers: str) -> Path:
    """Optimizers on two problems, of which on the second all runs diverge."""
    engine = FakeEngine(loss=lambda run: math.inf if run.problem.startswith("linear") else bowl(run))
    question = Question("digits_mlp, linear_regression", optimizers, "default", trials=2, seeds=6, steps=40)
    outcome = compare(plan(question), Ledger(Store(folder), train=engine), lambda phase, runs: lambda p: None)
    (rows,) = [rows for task, rows in outcome.rows.items() if task.name == "linear_regression"]
    assert {mark(row) for row in rows} == {""} and not any(row.trained for row in rows)
    comparisons.save(outcome, folder)
    return folder


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return all_diverge(tmp_path_factory.mktemp("diverged"), "sgd, adam")


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The costs of more optimizers than there are colours, and nothing else."""
    folder = tmp_path_factory.mktemp("costs")
    parts = {"data": 0.1, "forward": 0.3, "backward": 0.4, "update": 0.2, "measurement": 0.0}
    for i, name in enumerate(CHEAP):
        record = {
            "problem": str(problem.bind("digits_mlp")), "optimizer": str(optimizer.bind(name)), "batch_size": 32,
            "dtype": "float32", "device": "cpu", "seconds": 1e-4 * (1 + i), "spread": 1e-6, "noisy": False,
            "parts": parts, "state": 8.0, "environment": ENVIRONMENT,
        }  # fmt: skip
        records.save(record, folder / "costs", name)
    return folder


def test_where_all_diverged_nothing_is_best(diverged: Path) -> None:
    rows = json.loads(call("table", "--results", str(diverged), "--format", "json").stdout)
    assert {row["verdict"] for row in rows if row["problem"] == "linear_regression"} == {"diverged"}
    (record,) = Evidence.read(str(diverged)).compared
    said = {line["problem"]: line["sentence"] for line in record["headlines"]}["linear_regression"]
    assert said.startswith("linear_regression: no best, for all 2 rows diverged (half of their runs or more); ")
    cards = {card.where: card for card in page(diverged).headlines}
    assert cards["digits_mlp"].who in ("sgd", "adam")
    assert (cards["linear_regression"].who, cards["linear_regression"].value) == ("no best", "diverged")


def test_ranks_and_profiles_count_no_problem_on_which_all_diverged(diverged: Path) -> None:
    charts = {chart.name: chart for section in page(diverged).sections for block in section.blocks
              if isinstance(block, Figure) for chart in block.variants.values()}  # fmt: skip
    ranks = charts["ranks"].table
    assert ranks is not None
    own = ranks[ranks["problem"] == "linear_regression"]
    assert own["rank"].map(math.isinf).all() and not own["marked"].any()
    profile = next(chart for name, chart in charts.items() if name.startswith("profile"))
    assert profile.table is not None
    assert profile.table.empty or profile.table["tau"].max() >= 4, "it goes as far as the score that is told of it"


def test_of_many_that_all_diverged_none_is_said_to_be_the_best(tmp_path: Path) -> None:
    evidence = Evidence.read(str(all_diverge(tmp_path, ", ".join(reversed(CHEAP)))))
    known, unknown = newest(every(evidence))
    palette = page_of(evidence).palette
    assert "bring forward the best and " in focus.told(palette, known)
    assert focus.told(palette, unknown).startswith("Its figures bring forward adam and sgd; the others are grey")
    assert focus.told(Palette(f"n{i}" for i in range(30)), unknown).startswith("The lines of its figures are grey")
    ranks = profiles.ranks([known, unknown], palette).table
    assert ranks is not None
    finite = ranks[ranks["problem"] == known.name]
    assert finite["rank"].tolist() == [1.0 + i for i in range(len(CHEAP))], "as they did where some trained"


def test_costs_alone_give_each_colour_to_one_optimizer(costs: Path) -> None:
    made = page(costs)
    assert list(made.series) == list(CHEAP), "the cheapest first"
    whose: dict[str, list[str]] = {}
    for name in CHEAP:
        whose.setdefault(made.palette.colour(name), []).append(name)
    assert whose.pop(LIGHT.series[OWN]) == list(CHEAP[OWN:])
    assert [len(names) for names in whose.values()] == [1] * OWN
    assert len(CHEAP) > FEW and "choose an optimizer at the top" in made.notes[-1]


def test_a_page_says_nothing_of_what_it_does_not_have(tmp_path: Path) -> None:
    Store(tmp_path).save(FakeEngine().result(Run.make("digits_mlp", "sgd", steps=40, eval_every=10, batch_size=32)))
    made = page(tmp_path)
    assert "Runs" in [section.title for section in made.sections], "beside no comparison"
    assert "at the top" not in made.notes[-1]


@pytest.mark.parametrize("kind", ["verdicts", "scaling", "spectra", "runs"])
def test_in_every_form_a_table_of_nothing_is_refused(costs: Path, kind: str) -> None:
    told = set()
    for form in ("text", "csv", "json", "markdown", "latex"):
        done = call("table", kind, "--results", str(costs), "--format", form)
        assert done.exit_code == 2 and not done.stdout
        told.add(done.stderr)
    (said,) = told
    assert said.startswith("error: table: ")


def test_figures_by_themselves_name_their_problem(diverged: Path, tmp_path: Path) -> None:
    done = call("figures", "--results", str(diverged), "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    for file in tmp_path.glob("digits-mlp-*.svg"):
        assert "on digits_mlp</text>" in file.read_text()
