"""The text of chains for a GPU, which its compiler takes on machines without one; what it computes is in test_cuda."""

from __future__ import annotations

import pytest
import torch
from torch.cuda import _utils

from analysis.replay import graphs, native, native_cuda, tape


def _texts(monkeypatch, function, inputs):
    """The CUDA texts of the chains of a function."""
    found = []

    def calls(chain):
        found.append(native_cuda.text(native.Program(chain, cuda=True)))
        return []

    monkeypatch.setattr(tape, "calls", calls)
    monkeypatch.setattr(native, "compiler", lambda: ["cc"])  # chains are not to depend on what this machine has
    tape.Tape(function, inputs, inputs[:1])
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "stride", "wide"), [(1, 1001, 4), (3, 64, 4), (3, 66, 2), (3, 33, 1)])
def test_the_compiler_takes_the_text_of_a_chain(monkeypatch, dtype, rows, stride, wide):
    a, b = (torch.ones(rows, stride, dtype=dtype)[:, : stride - 1] for _ in range(2))
    rate = torch.ones(rows, 1, dtype=dtype)

    def function():
        r = 0.9 * a + b.abs() * b / 3.0
        bent = torch.ops.aten.tanh_backward(r, b)
        return [torch.where(b > 0, rate * b / (1e-8 + r.sqrt()), -r.rsqrt() - b.sign() * bent)]

    (text,) = _texts(monkeypatch, function, [a, b, rate])
    assert f"at[{wide}]" in text and f"at[{2 * wide}]" not in text
    try:
        _utils._get_gpu_rtc_library()
    except (AttributeError, OSError):
        pytest.skip("this PyTorch has no NVRTC")
    with native_cuda.no_headers():
        binary, name = _utils._nvrtc_compile(text, "chain", "90", nvcc_options=list(native_cuda.FLAGS))
    assert name == "chain" and b"chain" in binary


def test_a_processor_runs_its_kernels_as_they_are():
    program = [lambda: None, lambda: None]
    assert graphs.stretches(program, [], torch.device("cpu")) == program
