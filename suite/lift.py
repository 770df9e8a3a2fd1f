"""A function of one lane applied to all lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map

from analysis.replay.recorder import Untraceable
from problems.problem import Batch


def over_lanes(function: Callable[..., Any], theta: Any, batch: Batch, *, shared: bool = False) -> Any:
    """``function(θ, batch)`` for every lane, its results (a tree of tensors) with a lane axis in front.

    By vmap; a model that vmap cannot lift (it looks at values, or uses an operation
    without a rule) is called once per lane.

    Args:
        theta: a tree of tensors [lanes, ...].
        batch: tensors [lanes, b, ...], or [b, ...] if ``shared``.
    """
    try:
        return torch.vmap(function, in_dims=(0, None if shared else 0))(theta, batch)
    except Untraceable:
        raise
    except Exception:  # a mistake in the model itself is raised again by the loop, without vmap's words
        lanes = len(torch.utils._pytree.tree_leaves(theta)[0])
        results = [
            function(tree_map(lambda t, i=i: t[i], theta), batch if shared else tuple(t[i] for t in batch))
            for i in range(lanes)
        ]
        return tree_map(lambda *each: torch.stack(each), *results)
