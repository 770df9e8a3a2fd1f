"""Training asks one device for everything, whichever it is; on the device ``meta``, which computes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.replay.recorder import Untraceable
from problems.names import UsageError, parse
from problems.problem import problem
from problems.selection import selected
from suite import factors, lanes, objective
from suite.lanes import Together
from suite.objective import Objective
from suite.optimizers import optimizer
from suite.sampler import sampler_of

TINY = f"{Path(__file__).parent / 'tiny_problems.py'}:mlp"
ANYWHERE = {"copy_", "_to_copy"}  # operations that are there to go from one device to another
LOOKING = {  # at values, of which there are none here; tests/suite/test_cuda.py has them on a GPU
    "bfgs", "conjugate_gradients", "gradient_descent", "hessian_free", "kfac", "lbfgs", "shampoo", "soap", "sophia",
    "scaled_conjugate_gradients", "saddle_free_newton", "newton",
}  # fmt: skip
NAMES = [e.name for e in optimizer if not any(p.required for p in e.parameters) and e.name not in LOOKING]
STRATEGIES = [
    "polyak(clip(adam))",
    "clip_value(sgd, value=1.0)",
    "lookahead(momentum)",
    "sam(sgd)",
    "blocks(adam)",
    "gradient_noise(sgd)",
    "weight_decay(adam)",
    "decoupled_decay(adam)",
    "sgd(lr=cosine(value=0.1, steps=9))",
]
TRANSFORMS = ["annealed(digits_mlp)", "auxiliary_heads(digits_deep_mlp)", "batch_norm(digits_mlp)", "l2(digits_mlp)",
              "continuation(digits_mlp)", "curriculum(digits_mlp)", "label_smoothing(digits_mlp)",
              "skip_connections(digits_deep_mlp)"]  # fmt: skip
PROBLEMS = [spec.name for spec in selected(problem, "embedded")] + ["mnist_2c2d", "cifar10_resnet"]


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, as a GPU does; numbers and indices may come from the processor."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name not in ANYWHERE:
            met = [t for t in _tensors([*args, *(kwargs or {}).values()]) if t.dim() > 0]
            if name.startswith(("index", "_index")):
                met = [t for t in met if t.dtype not in (torch.int64, torch.bool) or t.device.type != "cpu"]
            assert len({t.device for t in met}) <= 1, f"{func} on {[(t.device.type, tuple(t.shape)) for t in met]}"
        return func(*args, **(kwargs or {}))


def _tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for item in value for t in _tensors(item)] if isinstance(value, list | tuple) else []


@pytest.fixture(autouse=True)
def _eager(monkeypatch):
    """Nothing is recorded, so that every operation is met as it is asked for."""

    def tape(*arguments, **settings):
        raise Untraceable("each operation is looked at")

    for module in (lanes, objective, factors):
        monkeypatch.setattr(module, "Tape", tape)


def _moved(name):
    try:
        made = problem.build(problem.bind(name))
    except UsageError as missing:
        pytest.skip(str(missing))
    return made.to("meta", torch.float32)


@pytest.mark.parametrize("text", [*NAMES, *STRATEGIES])
def test_steps_stay_on_their_device(text):
    made, spec = _moved(TINY), parse(str(optimizer.bind(text)))
    theta = torch.zeros(2, made.size, device="meta")
    with OneDevice():
        group = Together(made, [spec] * 2, theta, [0, 1], 16, "reshuffle")
        for k in range(2):
            group.step(k)
        group.readout()
        kept = group.keep([1])
        kept.step(2)
    assert kept.theta.device.type == "meta" and not kept.errors


@pytest.mark.parametrize("name", [*PROBLEMS, *TRANSFORMS])
def test_problems_stay_on_their_device(name):
    made = _moved(name)
    theta = torch.zeros(2, made.size, device="meta")
    size = min(made.batch_size, 16)
    with OneDevice():
        sampler = sampler_of(made, [0, 1], size, "reshuffle", theta)
        sampler.fill(0)
        asked = Objective(made, 2, sampler.batch, sampler.carried)
        asked.value(theta)
        asked.gradient(theta)
        asked.hvp(theta, torch.zeros_like(theta))
        for split in made.splits.values():
            examples = tuple(t[:8] for t in split.tensors)
            outputs = made.outputs(made.layout.split(theta[0]), examples)
            for metric in made.metrics.values():
                metric.value(outputs, examples)


def test_two_devices_are_seen():
    there, here = torch.zeros(2, 2, device="meta"), torch.zeros(2, 2)
    with OneDevice():
        for mixed in (lambda: there @ here, lambda: there + here, lambda: torch.cat([there, here])):
            with pytest.raises((AssertionError, RuntimeError)):
                mixed()
        for fine in (lambda: there * here.sum(), lambda: there[torch.tensor([0])], lambda: there.copy_(here)):
            assert fine().device.type == "meta"
