"""Claims in the report and in tables."""

from __future__ import annotations

import csv
import io
import math
import sys
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st

import suite
from analysis.report import Statements
from suite.claims.base import Observation, share, typical
from suite.claims.carrying import _plain, carry_out, claim, load
from suite.cli import cli
from suite.reporting.claims import claims_table, line
from suite.reporting.evidence import Evidence
from suite.reporting.page import page

SPEC = "newton_jumps(size=4)"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims")
    carry_out(claim.bind(SPEC), str(folder), controls=True)
    return str(folder)


def call(*words: str):
    return CliRunner().invoke(cli, words)


def test_a_page_of_claims_alone(results) -> None:
    made = page(Evidence.read(results))
    assert made.summary == "1 claim; no comparison yet." and not made.notes  # there is no figure to point at
    [section] = [section for section in made.sections if section.key == "claims"]
    [block] = section.blocks
    assert isinstance(block, Statements) and block.title == "8.6 Approximate second-order methods"
    [said] = block.items
    assert said.verdict == "holds" and said.where.endswith("control, optimizer='gradient_descent': does not hold")
    assert section.lead[0].startswith("1 claim: 1 holds. ")
    assert ("claims", "1") in dict(enumerate(made.sections[-1].blocks))[0].items
    shown = call("report", "--results", results)
    assert shown.exit_code == 0, shown.output


def test_what_came_of_a_control_stays_while_the_claim_comes_to_the_same(tmp_path) -> None:
    bound = claim.bind(SPEC)

    def kept():
        [record] = load(tmp_path)
        return record.get("control", {}).get("verdict")

    [before, after] = ["loss after one step", "another measure"]
    for old, new in ((before, after), ('"fingerprint": "', '"fingerprint": "x'), ("gradient_descent", "momentum")):
        carry_out(bound, str(tmp_path), controls=True)
        assert "control" not in carry_out(bound, str(tmp_path))  # which was not asked for
        assert kept() == "does not hold"
        [file] = (tmp_path / "claims").glob("*.json")
        file.write_text(file.read_text().replace(old, new))
        carry_out(bound, str(tmp_path))
        assert kept() is None


def test_what_came_of_each_seed_stays_and_is_told_apart(tmp_path) -> None:
    carry_out(claim.bind(SPEC), str(tmp_path), controls=True)
    carry_out(claim.bind(SPEC), str(tmp_path), seed=7)
    carry_out(claim.bind("steepest_descent_zigzags"), str(tmp_path), seed=7)
    assert [(each["seed"], "control" in each) for each in load(tmp_path) if each["claim"] == SPEC] == [
        (0, True),
        (7, False),
    ]
    made = page(Evidence.read(str(tmp_path)))
    assert made.summary.startswith("2 claims; ")
    [section] = [section for section in made.sections if section.key == "claims"]
    told = "1 claim: 1 holds (seeds from 0 on); 2 claims: 2 hold (seeds from 7 on). "
    assert section.lead[0].startswith(told)
    rows = [row for row in claims_table(load(tmp_path)).rows if row[1].text == SPEC]
    assert [row[-1].text for row in rows] == ["", "from 7"]  # of one value


def test_a_verdict_of_another_experiment_is_not_taken_for_this_ones(tmp_path) -> None:
    mine, results = tmp_path / "mine.py", str(tmp_path / "results")
    lines = ["from suite.claims import claim, exactly", "@claim()", "def one():", '    """It is one."""', ""]
    [holds, other, raises] = [
        "    return lambda lab: [exactly('x', 1, below=2)]",
        "    return lambda lab: [exactly('x', 1, below=0)]",
        "    return lambda lab: 1 / 0",
    ]

    def tried(body: str, again: bool = True) -> tuple[Any, Any]:
        """What a new process makes of the claim as it is now, and of what is kept of it."""
        mine.write_text("\n".join([*lines, body]))
        claim._foreign.clear()
        for name in [name for name in sys.modules if name.startswith("_suite_user.")]:
            del sys.modules[name]
        done = call("claims", f"{mine}:one", "--results", results, "--jobs", "1") if again else None
        return done, load(results)[0]

    done, record = tried(holds)
    assert done.exit_code == 0 and not record["outdated"] and "failed" not in record
    _, record = tried(other, again=False)
    assert record["verdict"] == "holds" and record["outdated"]
    assert "holds (older)" in call("table", "claims", "--results", results).stdout
    done, record = tried(raises)
    assert done.exit_code == 1 and record["verdict"] == "holds" and record["outdated"]
    assert record["failed"].startswith("ZeroDivisionError")
    [block, *_] = page(Evidence.read(results)).sections[0].blocks
    assert "older version of the experiment · failed when tried again: ZeroDivisionError" in block.items[0].where
    assert list(suite.load_claims(results)["failed"]) == [record["failed"]]
    done, record = tried(other)
    assert record["verdict"] == "does not hold" and not record["outdated"] and "failed" not in record
    mine.unlink()  # on another machine nobody knows what the claim is now
    claim._foreign.clear()
    assert not load(results)[0]["outdated"]


def test_tables_of_claims(results) -> None:
    text = call("table", "claims", "--results", results).stdout
    assert "loss after one step / before" in text and "< 1e-20" in text
    [row] = csv.DictReader(io.StringIO(call("table", "claims", "--format", "csv", "--results", results).stdout))
    assert row["claim"] == SPEC and row["claim_verdict"] == row["verdict"] == "holds"
    assert row["control_verdict"] == "does not hold"
    assert float(row["value"]) < 1e-20 and float(row["below"]) == 1e-20 and float(row["above"]) == -math.inf
    frame = suite.load_claims(results)
    assert list(frame["what"]) == ["loss after one step / before"]


def test_a_page_says_what_is_drawn_and_from_which_seed_but_a_table_does_not(tmp_path) -> None:
    carry_out(claim.bind(SPEC), str(tmp_path), seed=7)
    found = Evidence.read(str(tmp_path))
    [section] = [section for section in page(found).sections if section.key == "claims"]
    assert "(shaded)" in section.lead[0] and section.blocks[0].items[0].where.endswith(" · seeds from 7 on")
    assert "shaded" not in call("table", "claims", "--results", str(tmp_path)).stdout


def test_no_claims_is_told(tmp_path) -> None:
    call("run", "rosenbrock", "sgd", "--steps", "1", "--results", str(tmp_path), "--quiet")
    for form in ("text", "csv"):
        shown = call("table", "claims", "--format", form, "--results", str(tmp_path))
        assert shown.exit_code == 2 and "python -m suite claims makes some" in shown.output


numbers = st.floats(-1e6, 1e6).map(lambda x: round(x, 6))


@given(st.lists(numbers, min_size=6, max_size=9), numbers, numbers, st.integers(0, 2))
def test_what_is_drawn_lies_where_the_verdict_says(values, one, other, side) -> None:
    above, below = sorted((one, other))
    assume(above < below)
    observed = typical("x", values + [math.inf, -math.inf][side : side + 1] * 5, above=above, below=below)
    (low, mid, high), (start, end) = line(_plain(observed, 0.95))
    assert 0 <= low <= mid <= high <= 1 and 0 <= start < end <= 1
    if observed.verdict(0.95) == "holds":
        assert start <= low and high <= end


@pytest.mark.parametrize(
    ("observed", "log"),
    [(typical("x", [1e-9] * 6, below=1e-3), True), (typical("x", [0.5] * 6, below=1), False),
     (share("x", [False] * 9, above=0.5), False)],
)  # fmt: skip
def test_lines_that_span_decades_are_logarithmic(observed: Observation, log: bool) -> None:
    (_, mid, _), (start, end) = line(_plain(observed, 0.95))
    assert (0.05 < mid < 0.2 and end > 0.8) if log else 0 <= mid <= 1
    assert start == 0 or end == 1
