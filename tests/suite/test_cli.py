from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_engine import FakeEngine

from suite import engine
from suite.cli import cli

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--problems", "digits_mlp", "--optimizers", "adam,sgd", "--trials", "3", "--seeds", "3", "--steps", "20"]
RUN = ["run", "digits_mlp", "sgd(lr=0.1)", "--steps", "20"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEngine:
    """Results are made up, and the command runs in an empty folder."""
    made = FakeEngine()
    monkeypatch.setattr(engine, "train", made)
    monkeypatch.chdir(tmp_path)
    return made


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def real(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, from anywhere."""
    command = [sys.executable, "-m", "suite", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


# lists and help -------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["--help", "compare --help", "run -h", "claims -h", "list", "list --json", "data"])
def test_help_and_lists_import_neither_torch_nor_pandas(words: str) -> None:
    script = f"""
import sys
from suite.cli import cli
try:
    cli({words.split()!r})
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "pandas", "numpy", "scipy", "pyarrow"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    "kind", ["problems", "transforms", "optimizers", "strategies", "initializers", "schedules", "probes"]
)
def test_list_says_what_each_name_is_and_takes(kind: str) -> None:
    shown = call("list", kind).stdout
    entries = json.loads(call("list", kind, "--json").stdout)[kind]
    assert len(entries) >= 5
    for entry in entries:
        assert entry["name"] in shown
        assert entry["summary"]
        for setting in entry["settings"]:
            assert setting["name"] in shown
            assert setting["required"] or "default" in setting
    assert sorted(e["name"] for e in entries) == [e["name"] for e in entries]


def test_list_gives_bounds_defaults_and_tuning_ranges() -> None:
    found = {entry["name"]: entry for entry in json.loads(call("list", "optimizers", "--json").stdout)["optimizers"]}
    lr, rho1 = found["adam"]["settings"][:2]
    assert (lr["name"], lr["default"], lr["bound"]) == ("lr", 0.001, "> 0")
    assert lr["tune"]["log"] is True
    assert rho1["bound"] == "in [0, 1)"
    assert "lr=0.001 > 0; tuned" in call("list", "optimizers").stdout


def test_data_shows_where_sets_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SUITE_DATA", raising=False)
    sets = {entry["name"]: entry for entry in json.loads(call("data", "--json").stdout)["data"]}
    assert Path(sets["digits"]["where"]).is_file()
    assert sets["mnist"]["where"] is None
    assert "mnist_mlp" in sets["mnist"]["needed_by"]
    assert "python -m suite data fetch mnist" in call("data").stdout
    assert call("data", "fetch", "digits").stdout.startswith("digits: ")


# compare --------------------------------------------------------------------------------


def test_compare_prints_a_table_on_stdout_and_the_rest_on_stderr(fake: FakeEngine) -> None:
    done = call("compare", *SMALL, "--seeds", "6")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "digits_mlp  20 steps, batches of 32"
    (best,) = (line for line in lines if line.startswith("*  "))
    assert re.search(r"lr=0.0\d+ .* default .* \d\.\d+  \[\d\.\d+, \d\.\d+\]", best)
    assert any(line.startswith("measured on a processor, 1 thread a run, device cpu, float32, ") for line in lines)
    assert all(line == line.rstrip() for line in lines)
    assert "\x1b" not in done.output
    assert "about" in done.stderr
    assert "tuning: 100% of 24 runs" in done.stderr
    assert "steps/s" in done.stderr
    assert "tuning:" not in done.stdout
    assert {run.steps for run in fake.trained} == {20}
    assert len(list(Path("results/runs").glob("*.parquet"))) == len(fake.trained)


def test_compare_again_trains_nothing_and_force_does(fake: FakeEngine) -> None:
    first = call("compare", *SMALL)
    count = len(fake.trained)
    again = call("compare", *SMALL)
    assert len(fake.trained) == count
    assert again.stdout == first.stdout
    assert "24 of the tuning stored" in again.stderr
    call("compare", *SMALL, "--force")
    assert len(fake.trained) == 2 * count


def test_compare_json_has_what_the_table_has(fake: FakeEngine) -> None:
    done = call("compare", *SMALL, "--json", "--quiet")
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert [row["rank"] for row in found["rows"]] == [1, 2, 3, 4]
    row = found["rows"][0]
    assert row["problem"] == "digits_mlp"
    assert row["best"].startswith(("adam(lr=", "sgd(lr="))
    assert row["verdict"] == "best"
    assert row["final"]["test_accuracy"]["n"] == 3
    assert row["diverged"] == {"tuning": {"runs": 0, "of": 6}, "evaluation": {"runs": 0, "of": 3}}
    assert found["problems"][0]["ranked_by"] == "test_accuracy"
    assert found["environments"][0]["processor"] == "a processor"


def test_dry_run_trains_nothing(fake: FakeEngine) -> None:
    done = call("compare", *SMALL, "--dry-run")
    assert done.exit_code == 0
    assert "36 runs, 0 of the tuning stored in results: about" in done.stdout
    found = json.loads(call("compare", *SMALL, "--dry-run", "--json").stdout)
    assert (found["tuning_runs"], found["evaluation_runs"], found["stored"]) == (24, 12, 0)
    assert found["seconds"] > 0
    assert fake.trained == []
    assert not Path("results").exists()


def test_a_pattern_of_torch_s_classes_is_compared_without_those_that_cannot_run(fake: FakeEngine) -> None:
    asked = ["--optimizers", "adam,torch.S*,torch.Ad*,-torch.Adam?*", "--trials", "2", "--seeds", "3", "--steps", "20"]
    asked += ["--problems", "digits_mlp", "--initializers", "default"]
    planned = json.loads(call("compare", *asked, "--dry-run", "--json").stdout)
    assert planned["tuning_runs"] == 2 * 2 * 6 and planned["evaluation_runs"] == 3 * 6
    assert [one["name"] for one in planned["left_out"]] == ["torch.SparseAdam"]
    assert "dense gradients" in planned["left_out"][0]["reason"]
    done = call("compare", *asked)
    assert done.exit_code == 0
    assert re.search(r"^left out: torch\.SparseAdam: .*dense gradients", done.stdout, re.MULTILINE)
    for name in ("adam", "torch.SGD", "torch.Adadelta", "torch.Adafactor", "torch.Adagrad", "torch.Adam"):
        assert re.search(rf"^[*=?! ] +{re.escape(name)} ", done.stdout, re.MULTILINE), name
    wrong = call("compare", "--optimizers", "torch.Adma*", "--dry-run")
    assert wrong.exit_code == 2 and "did you mean Adam" in wrong.stderr


def test_a_broken_optimizer_is_a_row_and_exit_code_1(fake: FakeEngine) -> None:
    fake.broken = lambda run: "RuntimeError: out of ideas" if run.optimizer.startswith("sgd") else ""
    done = call("compare", *SMALL, "--initializers", "default")
    assert done.exit_code == 1
    assert "sgd from default failed: RuntimeError: out of ideas" in done.stdout
    assert re.search(r"^\* +adam", done.stdout, re.MULTILINE)


def test_infinite_values_are_null_in_json(fake: FakeEngine) -> None:
    fake.loss = lambda run: float("inf")
    row = json.loads(call("compare", *SMALL, "--json", "--quiet").stdout)["rows"][0]
    assert row["final"]["test_loss"]["value"] is None
    assert "diverged" in call("compare", *SMALL).stdout


def test_interrupting_says_what_is_kept(fake: FakeEngine) -> None:
    fake.until = 7
    done = call("compare", *SMALL)
    assert done.exit_code == 130
    assert "interrupted; 7 new results are kept in results, and the same command goes on from there" in done.stderr
    fake.until = 10**9
    assert call("compare", *SMALL).exit_code == 0
    assert len(fake.trained) == 36


def test_a_full_disk_is_told_with_exit_code_1(fake: FakeEngine) -> None:
    Path("results").write_text("a file where the folder should be")
    done = call("compare", *SMALL, "--quiet")
    assert done.exit_code == 1
    assert re.match(r"error: results.*cannot be written.*--results", done.stderr)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "--problems", "digits_mlpp"], "unknown problem 'digits_mlpp'; did you mean digits_mlp"),
        (["compare", "--optimizers", "adam(lr=0)"], "adam: lr must be > 0, got 0"),
        (["compare", "--optimizers", "nothing.py:Mine"], "nothing.py: no such file"),
        (["compare", "--trials", "many"], "'many' is not a valid integer"),
        (["compare", "--device", "cuda:99"], "device must be one that torch can use here"),
        (["run", "digits_mlp"], "Missing argument 'OPTIMIZER'"),
        (["run", "digits_mlp", "sdg"], "unknown optimizer 'sdg'; did you mean sgd"),
        (["run", "digits_mlp", "rmsprop(rho=1.2)"], "rmsprop: rho must be in [0, 1), got 1.2"),
        (["run", "digits_mlp", "adam", "--order", "random"], "order must be one of reshuffle"),
        (
            ["run", "digits_mlp", "adam", "--eval-every", "0"],
            "a whole number >= 1 or epoch, got '0'",
        ),
        (["run", "digits_mlp", "adam", "--steps", "3", "--epochs", "2"], "give --steps or --epochs, not both"),
        (["run", "digits_mlp", "adam", "--batch-size", "99999"], "batch size must be in [1, 1197]"),
        (["run", "digits_mlp", "adam", "--seed", "-1"], "seed must be in [0, 2147483647], got -1"),
        (["list", "optimisers"], "'optimisers' is not one of"),
        (["data", "fetch", "minst"], "unknown data set 'minst'"),
        (["comapre"], "No such command 'comapre'"),
        (["run", "digits_mlp", ""], "expected a name such as adam(lr=0.001), found nothing"),
        (["run", "digits_mlp", "digits_mlp"], "digits_mlp is a problem, not an optimizer"),
        (["run", "sgd", "sgd"], "sgd is an optimizer, not a problem"),
        (["run", "digits_mlp", "SGD"], "unknown optimizer 'SGD'; did you mean sgd?"),
        (["run", "digits_mlp", "sgd(lr=nan)"], "sgd: lr must be finite, got nan"),
        (["run", "digits_mlp", "sgd(lr=inf)"], "sgd: lr must be finite, got inf"),
        (["run", "digits_mlp", "mine.py"], "mine.py: name an optimizer in it, as in mine.py:Name"),
        (["run", "digits_mlp", "adam", "--epochs", "-1"], "run: epochs must be >= 0, got -1"),
        (["run", "digits_mlp", "adam", "--data", ""], "data: '' is not a folder"),
        (["run", "digits_mlp", "adam", "--device", "meta"], "device must be one that torch can use here"),
        (["compare", "--seeds", "99999999999"], "compare: seeds must be at most 100,000, got 99,999,999,999"),
        (["compare", "--trials", "0"], "compare: trials must be >= 1, got 0"),
        (["trace", "digits_mlp", "sgd", "--seeds", "99999999"], "not in the range 1<=x<=10000"),
        (["trace", "digits_mlp", "sgd", "--steps", "10", "--at", "50"], "at must be steps up to the last, 10, got 50"),
        (["trace", "digits_mlp", "sgd", "--figure", "/proc/none/x.svg"], "/proc/none/x.svg cannot be written"),
        (["spectrum", "digits_mlp", "--figure", "x.gif"], "figure must end in .svg, .png, .pdf, got 'x.gif'"),
        (["spectrum", "digits_mlp", "--tol", "nan"], "nan is not a finite number"),
        (["spectrum", "digits_mlp(hidden=(99999,))", "--method", "dense"], "GB, and "),
        (["spectrum", "digits_mlp", "sgd(lr=1e30)", "--at", "5"], "sgd(lr=1e30) diverged before step 5"),
        (["landscape", "line", "digits_mlp", "sgd", "--steps", "0"], "line needs --steps of at least 1"),
        (["landscape", "slice", "digits_mlp", "--span", "inf"], "inf is not a finite number"),
        (["cost", "digits_mlp", "sgd", "--seconds", "nan"], "nan is not a finite number"),
        (["cost", "--update", "sgd", "--sizes", "nan"], "sizes must be whole numbers from 1 to 1e9"),
        (["cost", "--update", "sgd", "--sizes", "inf"], "sizes must be whole numbers from 1 to 1e9"),
        (["report", "--out", "."], "report: out must be a file, and . is a folder"),
        (["data", "fetch", "digits", "--data", "/no/such/folder"], "data: /no/such/folder is not a folder"),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(fake: FakeEngine, words: list[str], message: str) -> None:
    done = call(*words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert done.stdout == ""
    assert fake.trained == []


def test_what_goes_wrong_inside_is_told_in_one_line(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr(engine, "train", broken)
    done = call(*RUN)
    assert done.exit_code == 1
    told = r"error: inside the suite: ZeroDivisionError: a slip \(test_cli.py, line \d+\); SUITE_DEBUG=1 shows .*\n"
    assert re.fullmatch(told, done.stderr)
    monkeypatch.setenv("SUITE_DEBUG", "1")
    assert "ZeroDivisionError: a slip" in call(*RUN).stderr


# run ------------------------------------------------------------------------------------


def test_run_prints_its_trace(fake: FakeEngine) -> None:
    done = call(*RUN, "--eval-every", "10")
    assert done.exit_code == 0
    header, *rows = done.stdout.splitlines()
    assert header.split()[:3] == ["step", "train_loss", "train_accuracy"]
    assert [row.split()[0] for row in rows[:3]] == ["0", "10", "20"]
    assert rows[3] == "done"


def test_run_json_is_one_object(fake: FakeEngine) -> None:
    words = "--initializer he_normal --batch-size 0 --order sequential --seed 3 --dtype float64"
    found = json.loads(call(*RUN, "--json", *words.split()).stdout)
    assert {"run", "status", "summary", "traces"} <= set(found)
    assert found["status"] == "done"
    assert found["run"]["optimizer"] == "sgd(lr=0.1)"
    assert found["run"]["batch_size"] == 0
    assert found["run"]["seed"] == 3
    assert found["run"]["dtype"] == "float64"
    assert found["run"]["order"] == "sequential"
    assert found["run"]["initializer"] == "he_normal"
    assert found["traces"][0] == {"step": 0, "measure": "train_loss", "value": found["traces"][0]["value"]}


@pytest.mark.parametrize(
    ("words", "steps", "every"),
    [
        ([], 1110, 37),
        (["--epochs", "2"], 74, 37),
        (["--epochs", "2", "--eval-every", "5"], 74, 5),
        (["--epochs", "2", "--batch-size", "0"], 2, 1),
        (["--steps", "10", "--eval-every", "epoch"], 10, 37),
    ],
)
def test_what_is_left_open_comes_from_the_problem(fake: FakeEngine, words: list[str], steps: int, every: int) -> None:
    call("run", "digits_mlp", "sgd", *words)
    (run,) = fake.trained
    assert (run.steps, run.eval_every) == (steps, every)


def test_a_failed_run_has_exit_code_1_and_says_why(fake: FakeEngine) -> None:
    fake.broken = lambda run: "ValueError: no"
    done = call(*RUN)
    assert done.exit_code == 1
    assert "failed: ValueError: no" in done.stdout


# for real -------------------------------------------------------------------------------


def test_the_example_of_the_readme_is_compared_beside_adam(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"```python\n(# mine.py\n.*?)```", text, re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip() and not line.startswith("#")]) <= 10
    (tmp_path / "mine.py").write_text(example)
    words = [
        "--optimizers",
        "mine.py:sign_momentum,adam",
        "--trials",
        "3",
        "--seeds",
        "2",
        "--steps",
        "30",
        "--jobs",
        "1",
    ]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)}
    done = real("compare", "--problems", "digits_mlp", *words, "--jobs", "1", "--json", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    mine = [row for row in found["rows"] if row["optimizer"] == "mine.py:sign_momentum"]
    assert len(mine) == 2
    assert len(found["rows"]) == 4
    for row in mine:
        assert row["best"].startswith("mine.py:sign_momentum(lr=")
        assert row["final"]["test_accuracy"]["value"] > 0.3


def test_python_m_suite_without_words_shows_help() -> None:
    done = real(cwd=ROOT)
    assert "compare" in done.stdout + done.stderr
    assert done.returncode in (0, 2)


def test_methods_for_all_examples_get_them_unless_told_otherwise(tmp_path):
    def sizes(*extra):
        ask = ["run", "linear_regression", "bfgs", "--steps", "2", "--json", "--quiet", "--results", str(tmp_path)]
        done = CliRunner().invoke(cli, [*ask, *extra])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)["run"]["batch_size"]

    assert sizes() == 0
    assert sizes("--batch-size", "16") == 16


def test_a_folder_of_data_may_be_named(tmp_path, monkeypatch):
    monkeypatch.delenv("SUITE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    done = CliRunner().invoke(cli, ["data", "--data", str(tmp_path / "here"), "--json"])
    assert done.exit_code == 0, done.output
    assert os.environ["SUITE_DATA"] == str((tmp_path / "here").resolve())
    monkeypatch.delenv("SUITE_DATA")
    done = CliRunner().invoke(cli, ["run", "mnist_mlp", "sgd", "--data", str(tmp_path / "nowhere")])
    assert done.exit_code == 2 and "nowhere is not a folder" in done.output
