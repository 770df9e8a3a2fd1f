"""Where a run starts, and what it cost to find that out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from problems.names import UsageError, parse
from problems.problem import Problem
from problems.references import RAISED
from suite.errors import told
from suite.initializers import NotApplicable, initializer
from suite.initializers.spending import spending
from suite.sampler import generator
from suite.spec import Result, Run

Start = tuple[Tensor, Mapping[str, float]]


def start_of(run: Run, made: Problem, found: dict[tuple[str, int], Start]) -> Start | Result:
    """θ₀ of a run with what was spent on it, or why there is none.

    Args:
        found: (initializer, seed) -> the starts of this problem so far, which runs with other optimizer
            settings share.
    """
    key = (run.initializer, run.seed)
    try:
        theta, costs = found[key] if key in found else _spent(run, made)
    except NotApplicable as reason:
        return Result(run, "skipped", str(reason))
    except UsageError:
        raise
    except RAISED as error:
        return Result(run, "failed", f"initializer {run.initializer}: {told(error)}")
    if not isinstance(theta, Tensor):
        got = type(theta).__name__
        return Result(run, "failed", f"initializer {run.initializer}: theta must be a tensor [{made.size}], got {got}")
    if costs:
        found[key] = theta, costs  # what is drawn can be drawn again
    if theta.shape != (made.size,):
        shape = tuple(theta.shape)
        return Result(
            run, "failed", f"initializer {run.initializer}: theta must have shape ({made.size},), got {shape}"
        )
    return theta.detach().to("cpu", getattr(torch, run.dtype)), costs  # where all starts lie, whoever made them


def _spent(run: Run, made: Problem) -> Start:
    with spending() as spent, torch.random.fork_rng(devices=[], enabled=":" in run.initializer):
        if ":" in run.initializer:
            torch.manual_seed(run.seed)  # should it not draw from the generator that it is given
        theta = initializer.build(parse(run.initializer))(made, generator(run.seed, "start"))
    return theta, spent.summary()


@lru_cache(maxsize=8)
def starts_of(problem: str, device: str, dtype: str) -> dict[tuple[str, int], Start]:
    """Where :func:`start_of` keeps the starts of a problem for the groups of runs that this process trains."""
    return {}


def not_applicable(start: Any, made: Problem) -> str:
    """Why a bound initializer makes no sense for a problem; empty if it does. Nothing is trained to tell."""
    try:
        with spending(rehearsed=True):
            initializer.build(start)(made, generator(0, "start"))
    except NotApplicable as reason:
        return str(reason)
    except UsageError:
        raise
    except RAISED:
        return ""  # a fault of the initializer's own, which its runs will record
    return ""
