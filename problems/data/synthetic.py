"""Data that are computed: each set depends on its arguments alone, on every machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from problems.data.splits import Splits
from problems.problem import Batch, Data


def _floats(*arrays: Any) -> Batch:
    """Arrays in float32."""
    import torch

    return tuple(torch.from_numpy(a.astype("float32")) for a in arrays)


def _drawn(draw: Callable[[int, Any], Batch], count: int, random: Any) -> Data:
    """So many examples, and the way to more of them.

    Args:
        draw: (count, ``numpy.random.RandomState``) -> examples.
    """
    import numpy as np

    return Data(draw(count, random), fresh=lambda more, seed: draw(more, np.random.RandomState(seed)))


def random_rotation(size: int, random: Any) -> Any:
    """A rotation [size, size], uniformly distributed, by the subgroup algorithm.

    Start with the plane rotation [[cos t, sin t], [−sin t, cos t]], t = 2π·U(0, 1). For d = 2 …
    size − 1 draw v ~ N(0, I) in d + 1 dimensions, normalize it, let x = (e₁ − v)/‖e₁ − v‖ and
    set R ← (I − 2xxᵀ) diag(1, R). At the end R ← −R.

    Args:
        random: a ``numpy.random.RandomState``, from which all draws are taken.

    Source: Diaconis & Shahshahani 1987, in the form of DeepOBS (Schneider et al. 2019).
    """
    import numpy as np

    t = 2 * np.pi * random.uniform()
    rotation = np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
    for d in range(2, size):
        v = random.normal(size=d + 1)
        v /= np.linalg.norm(v)
        x = np.eye(d + 1)[0] - v
        x /= np.linalg.norm(x)
        grown = np.block([[np.ones((1, 1)), np.zeros((1, d))], [np.zeros((d, 1)), rotation]])
        rotation = grown - 2 * np.outer(x, x @ grown)
    return -rotation


@lru_cache
def gaussian_points(count: int, size: int, std: float, seed: int) -> Data:
    """Points [count, size] of N(0, std²), from one ``RandomState(seed)``."""
    import numpy as np

    def draw(count: int, random: Any) -> Batch:
        return _floats(random.normal(0.0, std, (count, size)))

    return _drawn(draw, count, np.random.RandomState(seed))


@lru_cache
def regression(features: int, noise: float, seed: int) -> Splits:
    """y = wᵀx + b + noise·ε with x, w, ε ~ N(0, 1) and b ~ N(0, 1): x [n, features], y [n, 1].

    1000 examples for training, 250 for validation, 250 for test.
    """
    import numpy as np

    random = np.random.RandomState(seed)
    w, b = random.normal(size=(features, 1)), random.normal()

    def draw(count: int, random: Any) -> Batch:
        x = random.normal(size=(count, features))
        return _floats(x, x @ w + b + noise * random.normal(size=(count, 1)))

    return Splits(*(_drawn(draw, count, random) for count in (1000, 250, 250)))


@lru_cache
def adding(length: int, count: int, seed: int, shortest: int | None = None) -> Splits:
    """The adding problem: sequences x [n, length, 2] and what two of their values add up to, y [n, 1].

    The first component of each element is drawn from U(−1, 1). The second marks: 1 at one of
    the first ten elements (at most half the length) and at another of the first half, −1 at
    the first and last element unless marked, 0 elsewhere. With X₁, X₂ the marked values
    (X = 0 for the first element), y = 0.5 + (X₁ + X₂)/4. ``count`` sequences for training and
    a quarter of that for validation and for test.

    Args:
        shortest: each sequence's length is drawn evenly from shortest … length, and zeros come before it;
            None for one length.

    Source: Hochreiter & Schmidhuber 1997, section 5.4, where the length varies by a tenth.
    """
    import numpy as np

    def draw(count: int, random: Any) -> Batch:
        rows, lengths = np.arange(count), length
        if shortest is not None:
            lengths = random.randint(shortest, length + 1, size=count)
        values = random.uniform(-1.0, 1.0, (count, length))
        half, begin = lengths // 2, length - lengths + 0 * rows
        first = random.randint(np.minimum(10, half), size=count)
        second = random.randint(half - 1, size=count)
        second += second >= first  # one of those not yet marked
        idle = (first == 0) | (second == 0)
        values[rows[idle], begin[idle]] = 0.0
        values[np.arange(length) < begin[:, None]] = 0.0
        marks = np.zeros((count, length))
        marks[rows, begin] = marks[:, -1] = -1.0
        first, second = begin + first, begin + second
        marks[rows, first] = marks[rows, second] = 1.0
        total = values[rows, first] + values[rows, second]
        return _floats(np.stack([values, marks], axis=2), 0.5 + total[:, None] / 4)

    random = np.random.RandomState(seed)
    return Splits(*(_drawn(draw, size, random) for size in (count, max(count // 4, 1), max(count // 4, 1))))


@lru_cache
def copying(symbols: int, delay: int, alphabet: int, count: int, seed: int) -> Splits:
    """The copy problem: sequences x [n, time, alphabet + 2], one-hot, and labels [n, time], time = delay + 2·symbols.

    The input is ``symbols`` draws from the alphabet, ``delay`` − 1 blanks, the call to answer, and
    ``symbols`` blanks; the labels are blanks but for the last ``symbols`` steps, which repeat the
    draws. Labels 0 … alphabet − 1 are letters, ``alphabet`` the blank, alphabet + 1 the call.

    Source: Hochreiter & Schmidhuber 1997, in the form of Arjovsky, Shah & Bengio 2016, section 5.1.
    """
    import numpy as np
    import torch

    def draw(count: int, random: Any) -> Batch:
        given = np.full((count, delay + 2 * symbols), alphabet)
        wanted = given.copy()
        given[:, :symbols] = wanted[:, -symbols:] = random.randint(alphabet, size=(count, symbols))
        given[:, symbols + delay - 1] = alphabet + 1
        one_hot = np.eye(alphabet + 2, dtype=np.float32)[given]
        return torch.from_numpy(one_hot), torch.from_numpy(wanted.astype(np.int64))

    random = np.random.RandomState(seed)
    return Splits(*(_drawn(draw, size, random) for size in (count, max(count // 4, 1), max(count // 4, 1))))
