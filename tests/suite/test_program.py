"""A comparison from a program is that of the command line."""

from __future__ import annotations

import csv
import io
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import suite
from suite.cli import cli

ASKED = {"trials": 3, "seeds": 5, "steps": 40}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def test_the_verdicts_are_those_of_the_command(folder: Path) -> None:
    found = suite.compare(
        "linear_regression, quadratic", ["sgd", "clip(momentum, norm=2.0)"], "default", results=str(folder), **ASKED
    )
    assert list(found["problem"].unique()) == ["linear_regression", "quadratic"]
    assert set(found["optimizer"]) == {"sgd", "clip(momentum, norm=2.0)"}
    assert (found[found["rank"] == 1]["verdict"] == "best").all()
    table = CliRunner().invoke(cli, ["table", "verdicts", "--format", "csv", "--results", str(folder)])
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert [row["optimizer"] for row in rows] == list(found["optimizer"])
    final = [float(row["test_loss"] or "nan") for row in rows]
    assert final == pytest.approx(list(found["test_loss"]), nan_ok=True) and not all(map(math.isnan, final))
    assert [line.split(":")[0] for line in found.attrs["headlines"]] == ["linear_regression", "quadratic"]


def test_what_is_stored_is_not_trained_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("linear_regression", "sgd", "default")
    first = suite.compare(*asked, results=str(folder), **ASKED)
    monkeypatch.setattr("suite.ledger.Ledger.train", None, raising=False)
    before = {file: file.stat().st_mtime_ns for file in (folder / "runs").iterdir()}
    again = suite.compare(*asked, results=str(folder), **ASKED)
    assert first.equals(again)
    assert {file: file.stat().st_mtime_ns for file in (folder / "runs").iterdir()} == before


def test_an_optimizer_that_fails_is_a_row_that_says_why(tmp_path: Path) -> None:
    broken = f"{Path(__file__).parent / 'broken_optimizer.py'}:Broken(lr=0.1)"
    found = suite.compare("linear_regression", broken, "default", results=str(tmp_path), **ASKED)
    assert list(found["verdict"]) == ["failed"] and "no such luck" in found["problem_met"][0]
    assert found.attrs["headlines"] == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"seed": 3}, "unknown setting 'seed'; did you mean seeds"),
        ({"colour": 3}, "unknown setting 'colour'; it takes problems, optimizers"),
        ({"optimizers": ["adm"]}, "unknown optimizer 'adm'; did you mean"),
        ({"trials": 0}, "trials must be"),
    ],
)
def test_mistakes_are_said(asked: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(suite.UsageError, match=message):
        suite.compare(**{"problems": "quadratic", "results": str(tmp_path), **asked})


@pytest.mark.parametrize("guarded", [True, False])
def test_a_script_that_trains_in_several_processes_has_a_guard_or_is_told(tmp_path: Path, guarded: bool) -> None:
    asked = {**ASKED, "jobs": 2, "results": str(tmp_path)}
    call = f"print(len(suite.compare('quadratic', 'sgd, adam', 'default', **{asked})))"
    guard = 'if __name__ == "__main__": ' if guarded else ""
    (tmp_path / "script.py").write_text(f"import suite\n{guard}{call}\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(suite.__file__).parents[1])}
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if guarded:
        assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
        return
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("Traceback") == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("problems.names.UsageError: ") and 'calls below if __name__ == "__main__":' in last
