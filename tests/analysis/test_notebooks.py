"""The notebooks, executed as a reader would, on results of small budgets made by the commands that they name."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "analysis" / "notebooks").glob("*.py"))
DEEP = "digits_mlp(hidden=(16,)), digits_mlp(hidden=(16,16,16,16,16,16))"
COMMANDS = [
    "compare --jobs 1 --problems digits_mlp --optimizers sgd,momentum,adam --trials 5 --seeds 8 --steps 80",
    f"compare --jobs 1 --problems '{DEEP}' --optimizers momentum --initializers default,glorot_normal,orthogonal "
    "--trials 3 --seeds 5 --steps 60",
    "compare --jobs 1 --problems digits_logistic --optimizers 'sgd,sam(sgd),rprop,lbfgs' --initializers default "
    "--trials 5 --seeds 8",
    "cost digits_mlp sgd,momentum,adam --seconds 0.1",
    "spectrum digits_mlp 'sgd(lr=0.1)' --at 0,10,100 --top 5 --bottom 2 --density --probes 1 --lanczos-steps 40",
    "claims momentum_in_ravines momentum_against_noise --jobs 1",
    "run digits_mlp 'sgd(lr=0.1)' --probes gradient_norm --steps 300",
]


def command(text: str, folder: Path) -> None:
    """Run a command of the suite in a folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "suite", *shlex.split(text), "--quiet"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results under ``results``, and the prices of a second machine, on which a step of Adam costs more."""
    made = tmp_path_factory.mktemp("notebooks")
    for text in COMMANDS:
        command(text, made)
    for path in sorted((made / "results" / "costs").glob("*.json")):
        record = json.loads(path.read_text())
        record["environment"]["processor"] = "another processor"
        record["seconds"] *= 8 if record["optimizer"].startswith("adam") else 2
        path.with_name(f"other-{path.name}").write_text(json.dumps(record))
    return made


def executed(path: Path, folder: Path) -> Any:
    """The notebook with its outputs."""
    notebook = jupytext.read(path)
    client = nbclient.NotebookClient(
        notebook, timeout=180, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    return client.execute()


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_quietly_and_ends_with_a_finding(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("NO_COLOR", "1")
    notebook = executed(path, folder)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    said = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert said == []
    drawn = [output for output in outputs if "image/svg+xml" in output.get("data", {})]
    assert drawn
    *_, last = notebook.cells
    finding = "".join(output.text for output in last.outputs)
    assert len(finding.split()) > 15
    assert "nan" not in finding.split()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_with_the_results_and_reads_like_a_chapter(path: Path) -> None:
    notebook = jupytext.read(path)
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert any("suite.load(" in source for source in (code[3:] if path.stem == "your_own" else code[:1])), path
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    assert words > 100
    assert any(cell.source.strip() == "## Finding" for cell in notebook.cells[-2:])


def test_there_are_the_nine_chapters() -> None:
    names = {path.stem for path in NOTEBOOKS}
    further = {"spectra", "gradient_norms", "depth", "claims", "your_own"}
    assert names == {"first_look", "learning_rate", "work", "two_machines"} | further
