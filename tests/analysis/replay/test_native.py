"""Compiled chains against PyTorch's kernels."""

from __future__ import annotations

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from analysis.replay import native
from analysis.replay.tape import Tape

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None or os.environ.get("SUITE_NATIVE") == "0", reason="no C compiler (cc) to be used here"
)


def _chain(dtype, rows, columns):
    stream = torch.Generator().manual_seed(0)
    a, b = (torch.randn(rows, columns, dtype=dtype, generator=stream) for _ in range(2))
    rate = torch.rand(rows, 1, dtype=dtype, generator=stream)
    return a, b, rate


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1000), (5, 333), (64, 16), (3, 1)])
def test_a_chain_is_one_call_with_the_kernels_bits(dtype, rows, columns):
    a, b, rate = _chain(dtype, rows, columns)

    def function():
        r = 0.9 * a + (1 - 0.9) * b * b
        step = torch.where(b > 0, rate * b / (1e-8 + r.abs()), -r)
        return [r, b - step]

    expected = [t.clone() for t in function()]
    tape = Tape(function, [a, b, rate], [a, b])
    tape()
    assert len(tape.program) == 1
    assert torch.equal(a, expected[0]) and torch.equal(b, expected[1])


@needs_compiler
def test_square_roots_are_correctly_rounded():
    a = torch.rand(1, 4096, generator=torch.Generator().manual_seed(1))
    b = torch.zeros(1, 4096)
    Tape(lambda: [a.sqrt() * 1.0], [a], [b])()
    assert np.array_equal(b.numpy(), np.sqrt(a.numpy()))


@needs_compiler
def test_a_chain_that_differs_is_not_used(monkeypatch, capsys):
    """The check is one that can fail: with a wrong template it does, and the kernels run instead."""
    monkeypatch.setitem(native._TEMPLATES, torch.ops.aten.mul.Tensor, "{0} * {1} * (REAL)1.0000001")
    a = torch.linspace(1, 2, 50).view(1, 50)
    expected = a * 3.0 + 1.0
    tape = Tape(lambda: [a * 3.0 + 1.0], [a], [a])
    tape()
    assert "differs" in capsys.readouterr().err
    assert torch.equal(a, expected)


@pytest.mark.parametrize(
    ("here", "wanted", "command"),
    [
        ({"cc", "gcc"}, None, ["/cc"]),
        ({"clang"}, None, ["/clang"]),
        ({"cc", "mine"}, "mine -q", ["/mine", "-q"]),
        ({"cc"}, "mine", None),
        (set(), None, None),
    ],
)
def test_compilers_are_looked_for_in_order(monkeypatch, here, wanted, command):
    monkeypatch.setattr(native.shutil, "which", lambda name: f"/{name}" if name in here else None)
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("SUITE_NATIVE", raising=False)
    monkeypatch.delenv("CC", raising=False) if wanted is None else monkeypatch.setenv("CC", wanted)
    assert native.compiler() == command
    monkeypatch.setenv("SUITE_NATIVE", "0")
    assert native.compiler() is None


@needs_compiler
def test_a_compiler_that_fails_is_asked_once_and_the_next_one_serves(monkeypatch, tmp_path):
    asked, broken = tmp_path / "asked", tmp_path / "cc"
    broken.write_text(f"#!/bin/sh\necho once >> {asked}\nexit 1\n")
    broken.chmod(0o755)
    works = native.compiler()
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(native.shutil, "which", {"cc": str(broken), "gcc": works[0]}.get)
    monkeypatch.setattr(native, "_failed", set())
    native._function.cache_clear()
    for factor in (3.0, 5.0):
        a = torch.linspace(1, 2, 50).view(1, 50)
        expected = a * factor + 1.0
        Tape(lambda a=a, factor=factor: [a * factor + 1.0], [a], [a])()
        assert torch.equal(a, expected)
    assert native.compiler() == [works[0]]
    assert asked.read_text() == "once\n"
    native._function.cache_clear()


@pytest.mark.parametrize(("tools", "command"), [(0, ["/usr/bin/cc"]), (2, ["/opt/clang"])])
def test_offers_to_install_developer_tools_are_no_compiler(monkeypatch, tools, command):
    paths = {"cc": "/usr/bin/cc", "gcc": "/usr/bin/gcc", "clang": "/opt/clang"}
    monkeypatch.setattr(native.shutil, "which", paths.get)
    monkeypatch.setattr(native.sys, "platform", "darwin")
    monkeypatch.setattr(native.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=tools))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("SUITE_NATIVE", raising=False)
    native._stub.cache_clear()
    assert native.compiler() == command
    native._stub.cache_clear()
