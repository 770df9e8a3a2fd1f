"""Spectra of the suite's problems, at their start and along training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.objective import CurvatureError, Objective, chunked
from analysis.operators import Operator, gauss_newton, gradient_covariance, hessian
from analysis.spectrum import Spectrum, spectrum
from problems.names import UsageError, parse
from problems.problem import Problem, problem
from suite.initializers import NotApplicable, initializer
from suite.lanes import lanes_of
from suite.memory import require
from suite.optimizers import optimizer
from suite.sampler import check_size, generator
from suite.stability import rate, stable_below

MATRICES: dict[str, Callable[..., Operator]] = {
    "hessian": hessian,
    "gauss_newton": gauss_newton,
    "gradient_covariance": gradient_covariance,
}
OUTLIER = 2.0  # the largest gap must be at least this ratio for what is above it to stand out


@dataclass(frozen=True)
class Training:
    """How the points come about at which curvature is measured; texts as for ``suite.spec.Run``."""

    problem: str
    optimizer: str | None = None
    initializer: str = "default"
    seed: int = 0
    batch_size: int | None = None
    order: str = "reshuffle"
    device: str = "cpu"
    dtype: str = "float32"

    def made(self) -> Problem:
        """The problem on the device."""
        return problem.build(problem.bind(self.problem)).to(self.device, getattr(torch, self.dtype))


@dataclass(frozen=True)
class Moment:
    """Curvature at one step of training.

    Args:
        layer: the piece of θ whose block it is; empty for all of θ.
        loss, gradient: L(θ) and ‖∇L(θ)‖ over the same examples.
        rate: the learning rate at this step, where the optimizer has one.
        stable_below: the curvature from which on its steps on a quadratic grow, where there is one (2/rate for
            gradient descent; see ``suite.stability``).
        classes: of a softmax classifier, one for each output.
    """

    step: int
    matrix: str
    layer: str
    loss: float
    gradient: float
    spectrum: Spectrum
    rate: float | None
    stable_below: float | None = None
    classes: int | None = None

    @property
    def sharpness(self) -> float | None:
        """The largest eigenvalue."""
        values = self.spectrum.top.values
        return float(values[0]) if len(values) else None

    @property
    def outliers(self) -> int | None:
        """How many of the top eigenvalues lie above their largest gap (as a ratio); None if no gap stands out.

        For softmax classifiers about as many as classes (Sagun et al. 2018; Papyan 2019).
        """
        values = self.spectrum.top.values
        values = values[values > 0]
        if len(values) < 2:
            return None
        gaps = values[:-1] / values[1:]
        return int(gaps.argmax()) + 1 if gaps.max() >= OUTLIER else None


@dataclass(frozen=True)
class Seen:
    """The examples over which the loss is taken: the first so many of a split (0 for all), so many in a chunk."""

    split: str = "train"
    examples: int = 0
    chunk: int | None = None

    def objective(self, made: Problem, theta: Tensor) -> Objective:
        """The loss of a problem over them at θ [D].

        Raises:
            UsageError: the problem has no such split, or it holds fewer examples.
        """
        data = made.splits.get(self.split)
        if data is None:
            raise UsageError(f"spectrum: {made.name} has no split {self.split!r}; it has {', '.join(made.splits)}")
        if not 0 <= self.examples <= len(data):
            raise UsageError(f"spectrum: examples must be in [0, {len(data)}], got {self.examples}")
        chunks, weights = chunked(tuple(t[: self.examples or len(data)] for t in data.tensors), self.chunk)
        return Objective(
            made.loss_of,
            made.layout.split(theta.detach().contiguous()),
            chunks,
            weights,
            predict=made.outputs_of,
            criterion=made.criterion,
        )


def points(training: Training, steps: Sequence[int], made: Problem) -> Iterator[tuple[int, Tensor]]:
    """θ [D] after so many steps of training, in ascending order of steps; what the optimizer would evaluate.

    Raises:
        UsageError: steps without an optimizer; an initializer that makes no sense here.
    """
    wanted = sorted(set(steps))
    if wanted and wanted[-1] > 0 and training.optimizer is None:
        raise UsageError(f"spectrum: step {wanted[-1]} needs an optimizer to get there")
    try:
        start = initializer.build(initializer.bind(training.initializer))(made, generator(training.seed, "start"))
    except NotApplicable as reason:
        raise UsageError(f"spectrum: {training.initializer}: {reason}") from None
    theta = start.detach().to(training.device, getattr(torch, training.dtype))
    if training.optimizer is None:
        yield from ((0, theta) for _ in wanted)
        return
    size = made.batch_size if training.batch_size is None else training.batch_size
    check_size(made.train, size, training.order, course=made.course)
    spec = parse(str(optimizer.bind(training.optimizer)))
    lanes = lanes_of(made, [spec], theta[None].clone(), [training.seed], size, training.order)
    at = 0
    for stop in wanted:
        for k in range(at, stop):
            lanes.step(k)
        at = stop
        if lanes.errors:
            raise UsageError(f"spectrum: {training.optimizer}: {lanes.errors[0]}")
        yield stop, lanes.readout()[0].clone()


def along(
    training: Training,
    steps: Sequence[int] = (0,),
    matrices: Sequence[str] = ("hessian",),
    seen: Seen = Seen(),
    *,
    layers: bool = False,
    on_progress: Callable[[str], None] = lambda said: None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Moment]:
    """Spectra at chosen steps of training.

    Args:
        matrices: of ``hessian``, ``gauss_newton`` and ``gradient_covariance``.
        layers: also of each piece's own block.
        options: of :func:`analysis.spectrum.spectrum`.

    Raises:
        UsageError: what was asked cannot be had; the loss is not finite, or random.
    """
    made = training.made()
    _need_room(made, options.get("method"))
    for step, theta in points(training, steps, made):
        if not theta.isfinite().all():
            raise UsageError(f"spectrum: {training.optimizer} diverged before step {step}; name earlier steps")
        with told():
            whole = seen.objective(made, theta)
            whole.check_repeatable()
            loss, gradient = whole.value(), float(whole.gradient().norm())
            blocks = {"": whole} | ({name: whole.block([name]) for name in whole.pieces} if layers else {})
            for matrix, (layer, block) in itertools.product(matrices, blocks.items()):
                where = f"step {step}, {matrix}{f' of {layer}' if layer else ''}"
                say = partial(_at, where, on_progress)
                found = spectrum(MATRICES[matrix](block), on_progress=say, **options)
                limits = rate(training.optimizer, step), stable_below(training.optimizer, step)
                yield Moment(step, matrix, layer, loss, gradient, found, *limits, classes(made, theta))


def _need_room(made: Problem, method: str | None) -> None:
    if method == "dense":
        need = 4 * 8 * made.size**2  # the matrix, its eigenvectors and two products, in float64
        what = f"spectrum: a dense matrix of {made.size:,} rows"
        require(need, "cpu", what, "--method lanczos finds its ends")


def _at(where: str, on_progress: Callable[[str], None], said: str) -> None:
    on_progress(f"{where}: {said}")


def classes(made: Problem, theta: Tensor) -> int | None:
    """How many classes a problem tells apart by as many outputs; None where it does not."""
    if "accuracy" not in made.metrics:
        return None
    with torch.no_grad():
        outputs = made.outputs(made.layout.split(theta), tuple(t[:1] for t in made.train.tensors))
    return outputs.shape[-1] if outputs.dim() > 1 and outputs.shape[-1] > 1 else None


@contextmanager
def told() -> Iterator[None]:
    """Turn what cannot be measured into a message for the person who asked."""
    try:
        yield
    except CurvatureError as error:
        raise UsageError(str(error)) from error


def log_spaced(last: int, per_decade: int = 3) -> list[int]:
    """0, 1, and steps spaced evenly in their logarithm up to ``last``."""
    count = max(2, int(np.ceil(np.log10(max(last, 1)) * per_decade)) + 1)
    return sorted({0, *(round(float(x)) for x in np.geomspace(1, max(last, 1), count))} if last else {0})
