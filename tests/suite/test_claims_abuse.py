"""Claims of one's own that are wrong, processes that die, and records that are damaged: told, and nothing else lost."""

from __future__ import annotations

import json
import re
import sys
import warnings
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from suite import interrupts
from suite.claims import claim
from suite.claims.carrying import carry_out_all, load
from suite.claims_command import asked, outlook
from suite.cli import cli
from suite.processes import ended

OWN = '''
import os, signal, statistics, sys
from suite.claims import claim, exactly, typical

def fine(lab):
    return [exactly("x", 1, below=2)]

@claim(section=8.6)
def of_a_number():
    """Its section is a number."""
    return fine

@claim(section="8")
def of_a_chapter():
    """Its section is a chapter."""
    return fine

@claim()
def of_none():
    """It has none."""
    return fine

@claim(section="8.1", control="rate=1")
def other_control(lr: float = 1):
    """Its control is of something else."""
    return fine

@claim(section="8.1")
def says(what: str = "[]"):
    """It returns anything."""
    return lambda lab: {"[]": [], "None": None, "text": "x", "one": fine(lab)[0]}[what]

@claim(section="8.1")
def nothing():
    """It has no experiment."""

@claim(section="8.1")
def undefined():
    """It has no value."""
    return lambda lab: [typical("x", [float("nan")], below=2)]

@claim(section="8.1")
def averages():
    """It averages nothing."""
    return lambda lab: statistics.fmean([])

@claim(section="8.1")
def prints():
    """It prints."""
    return lambda lab: print("found") or fine(lab)

@claim(section="8.1")
def dies():
    """It ends its process."""
    return lambda lab: os._exit(3)

@claim(section="8.1")
def crashes():
    """It is ended."""
    return lambda lab: os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


def invoke(*words: object):
    """In this process, unless ``--jobs`` is among the words."""
    return CliRunner().invoke(cli, ["claims", "--jobs", "1", *map(str, words)])


def test_sections_may_be_numbers_and_others_stand_together_at_the_end(mine, tmp_path) -> None:
    shown = invoke(f"{mine}:of_*", "newton_jumps(size=4)", "--jobs", 1, "--results", tmp_path)
    assert shown.exit_code == 0, shown.output
    assert re.findall(r"(?m)^(?:8\.\d [A-Z]|Others).*", shown.stdout) == [
        "8.6 Approximate second-order methods",
        "Others",
    ]
    assert [each["section"] for each in load(tmp_path)] == ["8.6", "8.6.1", "8", ""]


def test_a_control_that_cannot_be_is_told_before_anything_is_trained(mine, tmp_path) -> None:
    shown = invoke("newton_jumps", f"{mine}:other_control", "--controls", "--results", tmp_path / "r")
    assert shown.exit_code == 2 and "its control must change its settings, got 'rate=1'" in shown.output
    assert "unknown setting 'rate'" in shown.output and not (tmp_path / "r").exists()


@pytest.mark.parametrize(("what", "got"), [("[]", "[]"), ("None", "None"), ("text", "'x'"), ("one", "Observation(")])
def test_an_experiment_must_return_observations(mine, tmp_path, what, got) -> None:
    shown = invoke(f"{mine}:says(what='{what}')", "--results", tmp_path)
    assert shown.exit_code == 1 and "must return a list of observations, such as [typical(...)], got " in shown.stdout
    assert f", got {got}" in shown.stdout and not load(tmp_path)


def test_what_is_no_experiment_or_no_number_is_told_with_its_place(mine, tmp_path) -> None:
    assert "a function of a lab, got None" in invoke(f"{mine}:nothing", "--results", tmp_path).stdout
    lines = OWN.splitlines()
    for name, code in (("undefined", '[typical("x", [float("nan")], below=2)]'), ("averages", "statistics.fmean([])")):
        line = lines.index(f"    return lambda lab: {code}") + 1
        assert f"mine.py, line {line})" in invoke(f"{mine}:{name}", "--results", tmp_path).stdout


def test_stdout_has_what_claims_come_to_and_nothing_else(mine, tmp_path) -> None:
    shown = invoke(f"{mine}:prints", "--json", "--results", tmp_path)
    assert json.loads(shown.stdout)["claims"][0]["verdict"] == "holds"
    assert "found" in shown.stderr


@pytest.mark.slow
def test_a_process_that_dies_takes_no_other_claim_with_it(mine, tmp_path) -> None:
    shown = invoke(f"{mine}:dies", f"{mine}:of_*", "--jobs", 2, "--results", tmp_path)
    assert shown.exit_code == 1 and "4 claims: 3 hold, 1 failed" in shown.stdout, shown.output
    assert "the process that tried it ended itself with exit code 3" in shown.stdout
    assert len(load(tmp_path)) == 3


def test_of_a_pool_the_process_that_was_not_terminated_broke_it() -> None:
    found = [[SimpleNamespace(exitcode=code) for code in codes] for codes in ((-15, 3), (-11, -15), (-9,), (None,))]
    assert [ended(processes) for processes in found] == [
        "ended itself with exit code 3",
        "was ended by SIGSEGV",
        "was ended by SIGKILL (out of memory?)",
        "ended itself",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"), [("dies", "itself with exit code 3"), ("crashes", "by SIGKILL (out of memory?)")]
)
def test_one_claim_that_ends_its_process_does_not_end_the_command(mine, tmp_path, name, how) -> None:
    shown = invoke(f"{mine}:{name}", "--jobs", 2, "--results", tmp_path, "--json")
    assert shown.exit_code == 1, shown.output
    [record] = json.loads(shown.stdout)["claims"]
    assert record["verdict"] == "failed" and record["problem"].startswith("the process that tried it ")
    assert record["problem"].endswith(how) and not load(tmp_path)


def test_an_interrupt_that_an_experiment_catches_ends_the_command(monkeypatch, mine, tmp_path) -> None:
    monkeypatch.setattr(interrupts, "_pressed", True)
    found = carry_out_all(asked(f"{mine}:of_*"), str(tmp_path), 0)
    assert next(found)["verdict"] == "holds"
    with pytest.raises(KeyboardInterrupt):
        next(found)
    assert len(load(tmp_path)) == 1


def test_an_interrupt_says_what_is_kept(monkeypatch, mine, tmp_path) -> None:
    for done, kept in ((1, "1 of 3 claims and what was trained for others are kept"), (0, "what was trained is kept")):

        def one(specs, *rest, done=done):
            yield from carry_out_all(specs[:done], *rest)
            raise KeyboardInterrupt

        monkeypatch.setattr("suite.claims_command.carry_out_all", one)
        shown = invoke(f"{mine}:of_*", "--results", tmp_path)
        assert shown.exit_code == 130 and f"interrupted; {kept} in " in shown.stderr


def test_names_may_be_left_out_as_arguments_of_their_own(mine, tmp_path) -> None:
    shown = invoke(f"{mine}:of_*", f"-{mine}:of_a_*", "--json", "--results", tmp_path)
    assert [each["claim"] for each in json.loads(shown.stdout)["claims"]] == [f"{mine}:of_none"]
    shown = invoke("newton_jumps", "-higher_order_terms", "--results", tmp_path)  # not -h
    assert shown.exit_code == 2 and "no such claim among those before it (newton_jumps)" in shown.output
    assert invoke("-h").exit_code == 0 and "No such option" in invoke("--bogus").output
    shown = CliRunner().invoke(cli, ["check", "rosenbrock", "quadratic", "-quadratic"])
    assert "rosenbrock: everything holds" in shown.output and "quadratic" not in shown.output


def test_how_many_and_how_long_before_is_said_at_the_start(tmp_path) -> None:
    specs = asked("newton_jumps(size=4), newton_jumps(size=5)")
    assert outlook(specs, str(tmp_path), 2) == "2 claims in 2 processes"
    shown = invoke("newton_jumps(size=4)", "--results", tmp_path)
    assert shown.stderr.startswith("1 claim in 1 process\n1 of 1  newton_jumps(size=4): holds in ")
    [file] = (tmp_path / "claims").glob("*.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": 61.0}))
    told = outlook(specs, str(tmp_path), 0)
    assert told == "2 claims in 1 process; 1 tried here before, which took 61 s of processor time"
    assert outlook(specs, str(tmp_path), 0, seed=7) == "2 claims in 1 process"


def test_a_record_is_replaced_when_a_default_changes(monkeypatch, mine, tmp_path) -> None:
    for limit in (1, 2):
        monkeypatch.setattr(claim, "_foreign", {})
        for name in [name for name in sys.modules if name.startswith("_suite_user.")]:
            monkeypatch.delitem(sys.modules, name)
        mine.write_text(OWN.replace("lr: float = 1", f"lr: float = {limit}"))
        [spec] = asked(f"{mine}:other_control")
        assert spec.options["lr"] == limit
        list(carry_out_all([spec], str(tmp_path), 0))
    assert [record["claim"] for record in load(tmp_path)] == [f"{mine}:other_control"]


def test_damaged_records_are_named_and_passed_over(tmp_path) -> None:
    for size in (4, 5, 6, 7):
        list(carry_out_all(asked(f"newton_jumps(size={size})"), str(tmp_path), 0))
    [broken, other, old, whole] = sorted((tmp_path / "claims").glob("*.json"))
    broken.write_text("{")
    other.write_text("[]")
    old.write_text(json.dumps({k: v for k, v in json.loads(old.read_text()).items() if k != "observations"}))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert len(load(tmp_path)) == 1
    for wrong in ({"observations": [1]}, {"verdict": "maybe"}, {"observations": 3}, {"control": ""}):
        other.write_text(json.dumps(json.loads(whole.read_text()) | wrong))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert len(load(tmp_path)) == 1
        assert sum("its record lacks" in str(warning.message) for warning in said) == 2
    for each in ("not a readable record", "it is a list", "its record lacks"):
        assert any(each in str(warning.message) for warning in told)
    for command in ("report", "table"):
        words = [command, *(["claims"] if command == "table" else []), "--results", str(tmp_path)]
        assert CliRunner().invoke(cli, words).exit_code == 0
