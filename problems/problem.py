"""What is minimized: a loss over data, and what is known of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from problems.course import Course
from problems.digests import digest
from problems.entries import Entry
from problems.layout import Layout
from problems.names import Spec, UsageError
from problems.references import RAISED, told
from problems.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor, nn

Batch = tuple["Tensor", ...]
Pieces = Mapping[str, "Tensor"]
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Data:
    """Examples as tensors that lie on the device and are indexed, never loaded one by one.

    Args:
        tensors: each [n, ...]; the i-th rows together are example i.
        drop_partial: when evaluating in batches of b, leave out the last n mod b examples,
            as DeepOBS does on its test sets.
        difficulty: a score [n] of each example, higher where it is more difficult, for curricula; None
            where none is known.
        fresh: (count, seed below 2³²) -> so many new examples of the distribution that these were drawn
            from, on the CPU; None where there are no others than these.
    """

    tensors: Batch
    drop_partial: bool = False
    fresh: Callable[[int, int], Batch] | None = None
    difficulty: Tensor | None = None

    def __post_init__(self) -> None:
        scores = () if self.difficulty is None else (self.difficulty,)
        sizes = {len(tensor) for tensor in (*self.tensors, *scores)}
        if len(sizes) != 1 or 0 in sizes:
            raise UsageError(f"data: every tensor needs the same number of examples, at least 1; got {sizes}")

    def __len__(self) -> int:
        return len(self.tensors[0])

    def to(self, device: torch.device, dtype: torch.dtype) -> Data:
        """The same examples elsewhere; only floating-point tensors change their type."""
        moved = tuple(_moved(t, device, dtype) for t in self.tensors)
        still = all(here is there for here, there in zip(self.tensors, moved, strict=True))
        return self if still else dataclasses.replace(self, tensors=moved)

    @cached_property
    def fingerprint(self) -> str:
        """A short SHA-256 digest of the examples, the same in every floating-point type and on every device."""
        return digest(self.tensors)


def streams(examples: int, count: int) -> Tensor:
    """Indices [steps, count] of consecutive examples read in ``count`` streams at once; the remainder is left out.

    Stream s begins at example s · steps and step k takes its k-th, for steps = ⌊examples/count⌋.
    """
    import torch

    steps = examples // count
    return torch.arange(count * steps).view(count, steps).T


def _moved(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)


@dataclass(frozen=True)
class Metric:
    """A number beside the loss: ``value(outputs, batch)`` is its mean over the batch."""

    value: Callable[[Tensor, Batch], Tensor]
    better: Literal["higher", "lower"]


UNCHECKED = "a round number; the data were not at hand to check it by training"


@dataclass(frozen=True)
class Target:
    """What counts as solved: the first evaluation at which ``measure`` is at least as good as ``value``."""

    measure: str  # such as "valid_accuracy"
    value: float
    better: Literal["higher", "lower"]
    origin: str  # where the number comes from

    def reached(self, value: float) -> bool:
        return value >= self.value if self.better == "higher" else value <= self.value


@dataclass(frozen=True, eq=False)
class Known:
    """A minimum that theory gives, of the loss over the whole training split."""

    loss: float
    theta: Tensor | None = None
    origin: str = ""


@dataclass(frozen=True, eq=False)
class Problem:
    """A loss over a data set as a function of one flat vector θ.

    ``loss(θ, batch) = criterion(predict(pieces of θ, batch), batch) [+ penalty(pieces)]``,
    the mean over the batch's examples. All functions are pure; they are written for one θ
    and lifted to many by ``torch.func.vmap``.

    Args:
        predict: (pieces, batch) -> outputs.
        carry: the shape of what is carried from an example to the one that follows it, such as the state of
            a recurrent net that reads on in a text; () for nothing, as if examples came in no order.
            With it ``predict`` gives (outputs, what is carried on [batch, *carry]) and finds what was
            carried to it, 0 at the beginning, as the last tensor of its batch. A minibatch of b has the
            k-th example of each of b runs of consecutive ones (``streams``). No gradient goes back
            through what is carried (truncated backpropagation through time).
        hidden: the layers whose sums a third argument ``between(name, sums) -> sums`` of ``predict``
            gets to see and to change; () where ``predict`` has none.
        activation: the nonlinearity that follows them, ``linear`` or a function of torch such as ``relu``;
            "" where none is told.
        units: the layers whose activations a fourth argument ``bend(name, x, nonlinearity)`` of ``predict``
            makes of their (maybe pooled) sums x; () where ``predict`` has none. In a recurrent layer the
            nonlinearity runs through all steps and gives [batch, time, …].
        criterion: (outputs, batch) -> scalar.
        metrics: further means over a batch, by name.
        fixed: tensors of the definition that are not trained, such as the matrix of a quadratic;
            ``predict`` and ``penalty`` find them by name among the pieces.
        start: draws θ₀ [D] as the problem's source prescribes, on the CPU in float32.
        flow: the training loss after gradient flow dθ/dt = −∇L from any ``start`` for time t, where
            theory gives it; k steps of gradient descent at a small rate ε reach t = kε.
        batch_size, epochs: the default budget of a run.
        valid, test: None where the problem has no such split.
        prepare: (pieces, train) -> further pieces for ``predict`` to find when the problem is evaluated,
            not when it is trained: statistics of the training split at θ. None where it needs none.
        course: how training changes from step to step; None where every step is alike.
        evaluated: what is measured, where training minimizes something else (a smoothed loss, one with a
            penalty): a problem that finds its pieces among these. None for this one itself.
        floats: the type of θ that :meth:`to` was asked for; None before, when it is that of the data.
    """

    name: str
    layout: Layout
    predict: Callable[..., Tensor]
    criterion: Callable[[Tensor, Batch], Tensor]
    train: Data
    valid: Data | None = None
    test: Data | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    fixed: Mapping[str, Tensor] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    activation: str = ""
    carry: tuple[int, ...] = ()
    units: tuple[str, ...] = ()
    prepare: Callable[[Pieces, Data], Pieces] | None = None
    penalty: Callable[[Pieces], Tensor] | None = None
    course: Course | None = None
    evaluated: Problem | None = None
    start: Callable[[Generator], Tensor] | None = None
    target: Target | None = None
    minimum: Known | None = None
    flow: Callable[[float], float] | None = None
    floats: torch.dtype | None = None
    batch_size: int = 128
    epochs: int = 10

    @classmethod
    def from_module(cls, module: nn.Module, loss: Callable[..., Tensor], train: Any, **rest: Any) -> Problem:
        """A problem from any ``torch.nn.Module``, loss and tensors: see :func:`problems.module.from_module`."""
        from problems.module import from_module

        return from_module(module, loss, train, **rest)

    def loss(self, theta: Tensor, batch: Batch) -> Tensor:
        """The mean loss over a batch at θ [D], as in training; a scalar."""
        return self.loss_of(self.layout.split(theta), batch)

    def loss_of(self, pieces: Pieces, batch: Batch) -> Tensor:
        """The same from the pieces of θ, so that gradients need not be taken through the split.

        A batch may bring the pieces that the problem's course gives for a step behind its examples.
        """
        return self._loss(*self._at_step(pieces, batch))[0]

    def outputs(self, pieces: Pieces, batch: Batch, *hooks: Callable[..., Tensor]) -> Tensor:
        """What ``predict`` makes of the pieces of θ; its hooks are ``between`` and ``bend`` (see :class:`Problem`)."""
        return self._predict(self._with_fixed(pieces), batch, *hooks)[0]

    def carried_of(self, pieces: Pieces, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss as in training, and what is carried on to the examples that follow, [batch, *carry]."""
        loss, _, carried = self._loss(*self._at_step(pieces, batch))
        assert carried is not None
        return loss, carried.detach()

    def outputs_of(self, pieces: Pieces, batch: Batch) -> Tensor:
        """The outputs that the criterion is a function of, as in training."""
        return self._predict(*self._at_step(pieces, batch))[0]

    @property
    def step_pieces(self) -> tuple[str, ...]:
        """The names of what the course brings to each step."""
        return () if self.course is None else tuple(self.course.pieces)

    def _at_step(self, pieces: Pieces, batch: Batch) -> tuple[Pieces, Batch]:
        """All pieces for a batch of training, and the batch without those that it brought."""
        names, count = self.step_pieces, len(self.train.tensors)
        if not names or len(batch) < count + len(names):
            return self._with_fixed(pieces), batch
        brought = dict(zip(names, batch[count:], strict=False))
        return self._with_fixed({**pieces, **brought}), (*batch[:count], *batch[count + len(names) :])

    @property
    def plain(self) -> Problem:
        """What is measured: ``evaluated`` where training minimizes something else, or this one itself."""
        return self if self.evaluated is None else self.evaluated

    def prepared(self, theta: Tensor) -> Pieces:
        """What :meth:`measure` needs to know of θ [D] beside its pieces, for all batches alike."""
        made = self.plain
        pieces = made._with_fixed(self.layout.split(theta))
        return {} if made.prepare is None else made.prepare(pieces, self.train)

    def measure(self, theta: Tensor, batch: Batch, prepared: Pieces | None = None) -> dict[str, Tensor]:
        """The loss and every metric over a batch from one prediction, as in evaluation.

        Args:
            prepared: of this θ; computed here unless given.
        """
        return self.measured(theta, batch, self.prepared(theta) if prepared is None else prepared)[0]

    def measured(self, theta: Tensor, batch: Batch, prepared: Pieces) -> tuple[dict[str, Tensor], Tensor | None]:
        """The same, and what is carried on."""
        made = self.plain
        loss, outputs, carried = made._loss(made._with_fixed({**self.layout.split(theta), **prepared}), batch)
        examples = self.examples(batch)
        return {"loss": loss, **{name: m.value(outputs, examples) for name, m in made.metrics.items()}}, carried

    def _with_fixed(self, pieces: Pieces) -> Pieces:
        return {**pieces, **self.fixed} if self.fixed else pieces

    def _loss(self, pieces: Pieces, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        outputs, carried = self._predict(pieces, batch)
        loss = self.criterion(outputs, self.examples(batch))
        return (loss if self.penalty is None else loss + self.penalty(pieces)), outputs, carried

    def examples(self, batch: Batch) -> Batch:
        """A batch without what comes behind its examples: what a step brings, what was carried to it."""
        return batch[: len(self.train.tensors)] if len(batch) > len(self.train.tensors) else batch

    def _predict(self, pieces: Pieces, batch: Batch, *hooks: Callable[..., Tensor]) -> tuple[Tensor, Tensor | None]:
        """Outputs, and what is carried on; a batch to which nothing was carried begins with zeros."""
        if not self.carry:
            return self.predict(pieces, batch, *hooks), None
        if batch is self.examples(batch):
            like = next(iter(pieces.values()))
            batch = (*batch, like.new_zeros(len(batch[0]), *self.carry))
        outputs, carried = self.predict(pieces, batch, *hooks)
        return outputs, carried

    def better(self, measure: str) -> str:
        """Whether ``higher`` or ``lower`` values of a measure such as ``valid_accuracy`` are better."""
        name = measure.partition("_")[2]
        return self.metrics[name].better if name in self.metrics else "lower"

    @property
    def size(self) -> int:
        """D, the number of parameters."""
        return self.layout.size

    @property
    def like(self) -> Tensor:
        """A tensor without entries on the device of the data, in the floating-point type of the problem."""
        tensors = self.train.tensors
        of_data = next((t for t in tensors if t.is_floating_point()), tensors[0].float())[:0]
        return of_data if self.floats is None else of_data.to(self.floats)

    @property
    def splits(self) -> dict[str, Data]:
        """The splits that there are, by name."""
        return {name: split for name in SPLITS if (split := getattr(self, name)) is not None}

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Problem:
        """The same problem with its data on a device, in a floating-point type."""
        import torch

        device = torch.device(device)
        moved: dict[str, Any] = {name: split.to(device, dtype) for name, split in self.splits.items()}
        moved["fixed"] = {name: _moved(tensor, device, dtype) for name, tensor in self.fixed.items()}
        moved["floats"] = dtype  # which data that are whole numbers do not show
        moved["course"] = self.course and self.course.to(device, dtype)
        moved["evaluated"] = self.evaluated and self.evaluated.to(device, dtype)
        return dataclasses.replace(self, **moved)


def _adopt(found: Any, name: str) -> Entry[Problem] | None:
    """``file.py:thing`` may name a Problem that exists already."""
    if isinstance(found, Problem):
        return problem.entry(lambda: found, name)
    return None


class Problems(Registry[Problem]):
    """Problems by name.

    What somebody's own factory raises is a mistake to be told, with its line; what it draws from PyTorch's global
    generator, as the layers of a module do, is the same each time.
    """

    def build(self, bound: Spec, **supplied: Any) -> Problem:
        """The problem of a bound spec.

        Raises:
            UsageError: it is somebody's own, and raises or returns something else.
        """
        if ":" not in bound.name:
            return super().build(bound, **supplied)
        import torch

        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                made = super().build(bound, **supplied)
        except UsageError as error:
            raise UsageError(f"{bound.name}: {error}") from error
        except RAISED as error:
            where = str(self.find(bound.name).source)
            raise UsageError(f"{bound.name} cannot be made: {told(error, where)}") from error
        if not isinstance(made, Problem):
            got = type(made).__name__
            raise UsageError(
                f"{bound.name} must return a Problem, as Problem.from_module(net, loss, data) does; got {got}"
            )
        return made


# What the definitions are made of, with how their data are read and prepared. Not the layers, whose values the tests
# hold to PyTorch's, nor what finds and fetches files, whose content the publishers' checksums hold.
MADE_OF = (
    *(f"problems.{name}" for name in ("course", "heads", "layout", "models", "nonlinear", "starts", "ways")),
    *(f"problems.data.{name}" for name in ("builtin", "cifar", "housing", "hugging_face", "idx", "mnist_family")),
    *(f"problems.data.{name}" for name in ("splits", "synthetic", "tables", "text", "vision")),
)
# What @problem(...) is told of an entry: source, data (a set's name), embedded, compare_steps (its steps in a quick
# comparison), changes (others may publish other data under the name, so they are held against a result's by digest:
# what the library datasets tells of a set changes with the date of a file, and of a stream it tells nothing).
problem: Registry[Problem] = Problems(
    "problem",
    "problems.families",
    "problems.transforms",
    adopt=_adopt,
    such_as="Problem.from_module(net, loss, (x, y))",
    groups={
        "quick": lambda entry: "compare_steps" in entry.meta,  # which a comparison takes if it is not told others
        "embedded": lambda entry: bool(entry.meta.get("embedded")),  # whose data are computed, or installed with Python
    },
    beside=MADE_OF,
)
