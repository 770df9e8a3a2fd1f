from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from problems.names import UsageError
from suite import __version__
from suite.environment import _commit, _fixed, check_device, cores, environment, machines


def test_it_names_what_results_depend_on() -> None:
    found = environment()
    assert found["torch"] == torch.__version__
    assert found["numpy"] == np.__version__
    assert found["python"] == platform.python_version()
    assert found["threads"] == torch.get_num_threads()
    assert found["device"] == "cpu"
    assert found["processor"]
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)
    assert found["cores"] == cores()


def test_an_installed_suite_is_told_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.environment._commit", lambda root: "")
    assert _fixed.__wrapped__()["commit"] == f"v{__version__}"


def test_machines_are_told_apart_by_all_but_the_commit() -> None:
    one, other = {"torch": "2.11", "commit": "a" * 40}, {"torch": "2.11", "commit": "b" * 40 + "+dirty"}
    new = {"torch": "2.12", "commit": ""}
    assert machines([one, other, one, new]) == [(one, ["aaaaaaaaaa", "bbbbbbbbbb+dirty"]), (new, [])]


def test_devices_that_are_not_here_are_refused() -> None:
    assert check_device("cpu") == "cpu"
    for name in ("warp", "cuda:99", ""):
        with pytest.raises(UsageError, match=f"device must be one that torch can use here.* got {name!r}"):
            check_device(name)


def test_the_commit_is_that_of_a_checkout_whose_top_it_is(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", "-C", str(tmp_path), *author, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    root = tmp_path.resolve()
    assert _commit(root) == ""
    git("init")
    assert _commit(root) == ""  # nothing committed yet
    (root / "inside").mkdir()
    (root / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "first")
    assert _commit(root) == git("rev-parse", "HEAD")
    assert _commit(root / "inside") == ""
    (root / "other").write_text("untracked files are no change")
    assert not _commit(root).endswith("+dirty")
    (root / "file").write_text("two")
    assert _commit(root) == git("rev-parse", "HEAD") + "+dirty"
