"""What is timed: one list of cases for asv and for pytest-benchmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from problems.names import UsageError, parse
from problems.problem import problem
from suite.initializers import initializer
from suite.lanes import Lanes, lanes_of
from suite.optimizers import optimizer
from suite.sampler import generator

PROBLEMS = ("quadratic_deep", "linear_regression", "digits_mlp", "digits_autoencoder", "adding_lstm")
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "torch.Adam")
UPDATES = (  # the methods that take one gradient a step, for their updates alone
    "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "rmsprop_nesterov", "adam", "adamw", "adamax", "nadam",
    "radam", "adadelta", "adan", "lion", "lamb", "lars", "rprop", "delta_bar_delta", "schedule_free_sgd",
    "schedule_free_adamw", "muon",
)  # fmt: skip
DEVICES = ("cpu", "cuda")


def group(name: str, text: str, lanes: int = 1, batch: int | None = None, device: str = "cpu") -> Lanes:
    """Lanes as the engine makes them, from the problem's own start."""
    made = problem.build(problem.bind(name)).to(device, torch.float32)
    start = initializer.build(initializer.bind("default"))
    theta = torch.stack([start(made, generator(seed, "start")) for seed in range(lanes)]).to(device)
    spec = parse(str(optimizer.bind(text)))
    size = made.batch_size if batch is None else batch
    return lanes_of(made, [spec] * lanes, theta, list(range(lanes)), size, "reshuffle")


def update(text: str, parameters: int, device: str = "cpu") -> Lanes:
    """One lane on one flat vector whose gradient lies there: a step of it is an update and nothing else.

    Raises:
        NotImplementedError: an older version of the suite knows no such thing.
    """
    try:
        from suite.updates import Frozen, flat
    except ImportError as missing:
        raise NotImplementedError("no updates by themselves yet") from missing
    theta = torch.ones(1, parameters, device=device)
    return lanes_of(flat(parameters, theta), [optimizer.bind(text)], theta, [0], 0, "reshuffle", Frozen)


def make(name: str, text: str, lanes: int = 1, device: str = "cpu") -> Callable[[], Any]:
    """One step of a group of lanes as a call without arguments.

    Raises:
        NotImplementedError: the device or the data are not here; asv then skips the case.
    """
    torch.set_num_threads(1)
    if device == "cuda" and not torch.cuda.is_available():
        raise NotImplementedError("no CUDA device")
    try:
        lanes_ = group(name, text, lanes, device=device)
    except UsageError as missing:
        raise NotImplementedError(str(missing)) from missing
    steps = iter(range(10**12))

    def step() -> None:
        lanes_.step(next(steps))
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    return step
