"""A folder of results that is made up: two problems compared, costs, spectra, gradient norms, a run beside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from fake_engine import FakeEngine

from problems.names import parse
from suite import comparisons, records
from suite.ledger import Ledger
from suite.outcome import compare
from suite.plan import Question, plan
from suite.spec import Result, Run
from suite.store import Store

NAMES = ("adam", "sgd", "clip(sgd, norm=1.0)")
ENVIRONMENT = {"processor": "a processor", "threads": 1, "device": "cpu"}


class Timed(FakeEngine):
    """Whose runs have a clock: a step takes an eightieth of a second, and half as much more with every seed."""

    def result(self, run: Run) -> Result:
        found = super().result(run)
        each = (1 + 0.5 * (run.seed % 10)) / 80
        read = tuple((step, "seconds", step * each) for step in sorted({step for step, *_ in found.trace}))
        return replace(found, trace=found.trace + read)


def made_up(
    folder: Path,
    problems: str = "digits_mlp, linear_regression",
    engine: FakeEngine | None = None,
    **asked: object,
) -> Path:
    """The folder, filled."""
    engine = engine or FakeEngine()
    question = Question(problems, ", ".join(NAMES), trials=5, seeds=12, steps=40, **asked)  # type: ignore[arg-type]
    comparisons.save(
        compare(plan(question), Ledger(Store(folder), train=engine), lambda phase, runs: lambda p: None), folder
    )
    store = Store(folder)
    beside = engine.result(Run.make("digits_mlp", "momentum(lr=0.05)", steps=40, eval_every=10, batch_size=32))
    norms = tuple((k, "gradient_norm", 1.0 + k / 40) for k in range(41))
    store.save(replace(beside, trace=beside.trace + norms))
    for i, name in enumerate(("adam(lr=0.001)", "sgd(lr=0.01)")):
        _cost(folder, name, 1e-4 * (1 + i))
    _spectra(folder)
    return folder


COMPARED = ("digits_mlp", "linear_regression")


def thirty(folder: Path) -> Path:
    """The folder, filled with a comparison of thirty optimizers on two problems."""
    names = "quick,bfgs,lbfgs,conjugate_gradients,scaled_conjugate_gradients,gradient_descent"
    question = Question(", ".join(COMPARED), names, initializers="default", trials=2, seeds=16, steps=400)
    ledger = Ledger(Store(folder), train=FakeEngine(_staggered))
    comparisons.save(compare(plan(question), ledger, lambda phase, runs: lambda p: None), folder)
    return folder


def _staggered(run: Run) -> float:
    """Some optimizers come out alike, others on each problem, and the rest one worse than the other."""
    place = sum(ord(letter) * 7**i for i, letter in enumerate(parse(run.optimizer).name))
    at = (place + 11 * COMPARED.index(parse(run.problem).name)) % 30
    return 0.1 + 0.02 * max(0, at - 4) + 0.001 * ((7 * run.seed + 3 * at) % 11)


def _cost(folder: Path, name: str, seconds: float) -> None:
    from problems.problem import problem
    from suite.optimizers import optimizer

    parts = {"data": 0.1, "forward": 0.3, "backward": 0.4, "update": 0.2, "measurement": 0.0}
    record = {
        "problem": str(problem.bind("digits_mlp")), "optimizer": str(optimizer.bind(name)), "batch_size": 32,
        "dtype": "float32", "device": "cpu", "seconds": seconds, "spread": 0.2 * seconds,
        "noisy": name.startswith("sgd"),
        "parts": {part: share * seconds for part, share in parts.items()}, "state": 8.0, "environment": ENVIRONMENT,
    }  # fmt: skip
    records.save(record, folder / "costs", name)


def _spectra(folder: Path) -> None:
    grid = np.linspace(-1, 10, 40)
    rows = [
        {
            "step": step, "matrix": "hessian", "layer": "", "parameters": 10, "loss": 2.0 / (1 + step), "rate": 0.1,
            "stable_below": 20.0,
            "gradient_norm": 1.0, "sharpness": 9.0, "top": [9.0, 4.0], "bottom": [-0.5], "grid": grid.tolist(),
            "density": np.exp(-(grid**2)).tolist(), "negative": 0.3, "negative_low": 0.2, "negative_high": 0.4,
        }
        for step in (0, 10)
    ]  # fmt: skip
    record = {"problem": "digits_mlp", "optimizer": "sgd", "initializer": "default", "seed": 0}
    records.save({**record, "spectra": rows, "environment": ENVIRONMENT}, folder / "spectra", 0)
