"""The objective of a group of lanes: values, gradients and Hessian products for all rows at once.

An optimizer's step runs under vmap and asks its ``suite.lane_oracle.LaneOracle`` for one lane; the
question reaches the :class:`Objective` with the θ of all lanes as one matrix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from analysis.replay.recorder import Kernel, Recorder, Untraceable
from analysis.replay.tape import Tape
from problems.layout import Layout
from problems.names import NotApplicable
from problems.problem import Batch, Problem
from suite import factors
from suite.chunks import chunks
from suite.lift import over_lanes

Listener = Callable[[Tensor, Tensor, Tensor], None]  # (point [lanes, D], losses [lanes], gradients [lanes, D])
ALIGN = 64  # numbers: rows start alike, for a kernel's bits may depend on alignment and on where its last block ends
ROWS = 32  # of a dense Hessian that are computed at once
DENSE = 4096  # the largest D for which a dense Hessian is given


def rows(lanes: int, size: int, like: Tensor) -> Tensor:
    """A zero matrix [lanes, size] whose rows all start on the same alignment, of ``like``'s type and device."""
    stride = -(-size // ALIGN) * ALIGN
    return torch.zeros(lanes, stride, dtype=like.dtype, device=like.device)[:, :size]


def _like(tensor: Tensor) -> Tensor:
    """A place for another of its kind, with aligned rows where it is a matrix [lanes, n]."""
    if tensor.dim() == 2:
        return rows(len(tensor), tensor.shape[1], tensor)
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _starts_alike(matrix: Tensor) -> bool:
    """Whether the rows of a matrix lie one after another, and all start on the same alignment."""
    alike = len(matrix) == 1 or matrix.stride(0) % ALIGN == 0
    return alike and matrix.stride(1) == 1 and int(matrix.storage_offset()) % ALIGN == 0


class Objective:
    """The losses of a problem on the minibatches of all lanes.

    Args:
        batch: tensors [lanes, b, ...] that stay in place; whoever owns them changes their contents.
        carried: where the first evaluation of a step puts what is carried on, [lanes, b, *carry]; None
            where nothing is (see ``Problem.carry``).

    ``calls`` counts evaluations by kind that every lane asks for, and ``charged`` those [lanes] that only some
    do; ``first`` is the loss [lanes] that the first evaluation of the current step
    gave, trial points aside. ``steady`` says whether the loss is the same function at every step.
    """

    def __init__(
        self, problem: Problem, lanes: int, batch: Batch, carried: Tensor | None = None, *, taped: bool = True
    ) -> None:
        self.problem = problem
        self.lanes = lanes
        self.batch = batch
        self.carried = carried
        self.taped = taped
        self.calls: Counter[str] = Counter()
        self.charged: dict[str, Tensor] = {}
        self.first: Tensor | None = None
        self.opens = False  # whether a step's first evaluation is a gradient
        self.listener: Listener | None = None  # told of that one, when it has been made
        self.steady = True
        self._among: Tensor | None = None  # the lanes that ask for the next evaluation, where it is a trial
        self._bound: dict[tuple[str, bool], tuple[list[Tensor], Kernel, list[Tensor]]] = {}

    @property
    def layout(self) -> Layout:
        return self.problem.layout

    def begin(self) -> None:
        """A new step: the next evaluation is its first; a rule that remembers its gradient may make none but trials."""
        self.first, self.opens = None, False

    def value(self, theta: Tensor) -> Tensor:
        """The losses [lanes] at θ [lanes, D]."""
        return self._ask("value", theta)[0]

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The losses [lanes] and their gradients [lanes, D]."""
        value, gradient = self._ask("gradient", theta)
        return value, gradient

    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        """Hessian times v [lanes, D], for each lane."""
        return self._ask("hvp", theta, v)[0]

    def ggn(self, theta: Tensor, v: Tensor) -> Tensor:
        """The generalized Gauss-Newton matrix JᵀH_L J times v [lanes, D], for each lane.

        J is the Jacobian of the problem's outputs and H_L the Hessian of its criterion in them; a
        penalty, which is a function of θ alone, adds its Hessian.
        """
        return self._ask("ggn", theta, v)[0]

    def hessian(self, theta: Tensor) -> Tensor:
        """The dense Hessians [lanes, D, D]; counted as D products.

        Raises:
            NotApplicable: D is above 4096.
        """
        if self.problem.size > DENSE:
            raise NotApplicable(
                f"{self.problem.name}: a dense Hessian of {self.problem.size} parameters is too large "
                f"(at most {DENSE}); use a method that needs products only"
            )
        return self._ask("hessian", theta)[0]

    def factors(self, samples: int, theta: Tensor, due: Tensor, key: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        """The Kronecker factors A and G [lanes, n, n] of each layer, by turns, for lanes that are ``due`` [lanes].

        Counted as the backward passes that they take. See ``suite.factors``.
        """
        self._charge("factors", due, factors.passes(self.problem, samples))
        recorder = Recorder.current
        taped = self.taped and recorder is not None
        make = partial(_if_any, partial(self.bind_factors, samples, taped))
        if recorder is not None:
            return tuple(recorder.call([due, theta, key, t], make))
        action, outputs = make(due, theta, key, t)
        action()
        return tuple(outputs)

    # evaluation --------------------------------------------------------------------------

    def _ask(self, kind: str, *operands: Tensor) -> list[Tensor]:
        recorder, active, self._among = Recorder.current, self._among, None
        counted, times = ("hvp", self.problem.size) if kind == "hessian" else (kind, 1)
        if active is not None:
            self._charge(counted, active, times)
        elif recorder is not None and recorder.depth:
            self._charge(counted, torch.ones(self.lanes, dtype=torch.bool, device=operands[0].device), times)
        else:
            self.calls[counted] += times
        sure = active is None and (recorder is None or not recorder.depth)
        is_first = sure and self.first is None and kind in ("value", "gradient")
        if recorder is None:
            outputs = self.evaluate(kind, *operands, carry=is_first, active=active)
            if is_first and kind == "gradient":
                self._tell(operands[0], *outputs)
        else:
            make = partial(self._opening if is_first and kind == "gradient" else self.bind, kind, carry=is_first)
            if active is not None:
                operands, make = (active, *operands), partial(_if_any, make)
            outputs = recorder.call(operands, make)
        if is_first:
            self.first, self.opens = outputs[0], kind == "gradient"
        return outputs

    def evaluate(self, kind: str, *operands: Tensor, carry: bool, active: Tensor | None = None) -> list[Tensor]:
        """Evaluate now, for a step that is not recorded: on a tape made where the kind is first asked for.

        Args:
            carry: as for :meth:`bind`.
            active: the lanes [lanes] that ask; where there is none, what it gives is without meaning.
        """
        key = kind, carry and self.carried is not None
        if key not in self._bound:
            places = [_like(t).copy_(t) for t in operands]
            self._bound[key] = places, *self.bind(kind, *places, carry=carry)
        places, action, outputs = self._bound[key]
        for place, operand in zip(places, operands, strict=True):
            place.copy_(operand)
        if active is None or active.any():
            action()
        return [_like(out).copy_(out) for out in outputs]

    def only(self, active: Tensor) -> Tensor:
        """The next evaluation is a trial that only lanes with ``active`` [lanes] ask for, and are charged with.

        It is not made where there is none; what it gives then is without meaning.
        """
        self._among = active
        return active

    def _charge(self, kind: str, active: Tensor, count: int) -> None:
        """Count an evaluation for some lanes; in a step that is recorded, whenever it comes to be made."""
        charged = self.charged.setdefault(kind, torch.zeros(self.lanes, dtype=torch.int64, device=active.device))
        if Recorder.current is None:
            charged += count * active
        else:
            Recorder.current.call([active], lambda active: (lambda: charged.add_(active, alpha=count), []))

    def bind(
        self, kind: str, *operands: Tensor, taped: bool | None = None, carry: bool = True
    ) -> tuple[Kernel, list[Tensor]]:
        """An action that evaluates at what ``operands`` hold when it is called, and where its results lie.

        Args:
            carry: a value or gradient also fills ``carried``.
        """
        if kind == "hessian":
            return self._bind_hessian(operands[0], taped)
        parts = chunks(self.problem, self.batch)
        if parts is not None:
            outputs, _ = self._results(kind, operands[0])
            how = self.taped if taped is None else taped

            def one(batch: Batch) -> tuple[Kernel, list[Tensor]]:
                return Objective(self.problem, self.lanes, batch, taped=how).bind(kind, *operands)

            return parts.bind(one, outputs), outputs
        places = [t if _starts_alike(t) else _like(t).copy_(t) for t in operands]
        copied = [(place, t) for place, t in zip(places, operands, strict=True) if place is not t]
        compute = partial(getattr(self, f"_{kind}"), *places)
        outputs, into = self._results(kind, places[0])
        if carry and self.carried is not None and kind in ("value", "gradient"):
            compute, into = partial(compute, carry=True), [*into, self.carried]
        evaluate: Kernel
        if self.taped if taped is None else taped:
            try:
                evaluate = Tape(compute, [*places, *self.batch], into)
            except Untraceable:
                evaluate = partial(_fill, compute, into)
        else:
            evaluate = partial(_fill, compute, into)
        if not copied:
            return evaluate, outputs

        def action() -> None:
            for place, operand in copied:
                place.copy_(operand)
            evaluate()

        return action, outputs

    def _bind_hessian(self, theta: Tensor, taped: bool | None) -> tuple[Kernel, list[Tensor]]:
        """As :meth:`bind`, for dense Hessians: some rows after others, by one tape that holds what these take."""
        size, count = self.problem.size, min(ROWS, self.problem.size)
        dense, units = theta.new_zeros(self.lanes, size, size), theta.new_zeros(count, size)
        evaluate, (found,) = Objective.bind(self, "rows_of_hessian", theta, units, taped=taped)

        def action() -> None:
            for first in range(0, size, count):
                last = min(first + count, size)
                units.zero_()[:, first:last].fill_diagonal_(1.0)
                evaluate()
                dense[:, first:last].copy_(found[:, : last - first])

        return action, [dense]

    def bind_factors(self, samples: int, taped: bool, *operands: Tensor) -> tuple[Kernel, list[Tensor]]:
        """As :meth:`bind`, for what :meth:`factors` gives."""
        return factors.bind(self.problem, self.batch, taped, samples, *operands)

    def _opening(self, kind: str, *operands: Tensor, **options: bool) -> tuple[Kernel, list[Tensor]]:
        """As :meth:`bind`, for the gradient with which a step begins."""
        evaluate, outputs = self.bind(kind, *operands, **options)

        def action() -> None:
            evaluate()
            self._tell(operands[0], *outputs)

        return action, outputs

    def _tell(self, theta: Tensor, values: Tensor, gradients: Tensor) -> None:
        if self.listener is not None:
            self.listener(theta, values, gradients)

    def _results(self, kind: str, theta: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Where the results of an evaluation go: the tensors to hand out, and their parts."""
        values = torch.zeros(self.lanes, dtype=theta.dtype, device=theta.device)
        if kind == "value":
            return [values], [values]
        if kind == "rows_of_hessian":
            dense = theta.new_zeros(self.lanes, min(ROWS, self.problem.size), self.problem.size)
            return [dense], [dense]
        vector = rows(self.lanes, self.problem.size, theta)
        parts = list(self.layout.split(vector).values())
        return ([vector], parts) if kind in ("hvp", "ggn") else ([values, vector], [values, *parts])

    def _leaves(self, theta: Tensor) -> dict[str, Tensor]:
        """The pieces of θ as leaves of a graph."""
        return {name: view.detach().requires_grad_() for name, view in self.layout.split(theta.detach()).items()}

    def _losses(self, pieces: dict[str, Tensor], carry: bool = False) -> tuple[Tensor, list[Tensor]]:
        """The losses [lanes], and what is carried on if that is asked for."""
        if not carry:
            return over_lanes(self.problem.loss_of, pieces, self.batch), []
        losses, carried = over_lanes(self.problem.carried_of, pieces, self.batch)
        return losses, [carried]

    def _value(self, theta: Tensor, carry: bool = False) -> list[Tensor]:
        with torch.no_grad():
            losses, carried = self._losses(self.layout.split(theta.detach()), carry)
        return [losses, *carried]

    def _gradient(self, theta: Tensor, carry: bool = False) -> list[Tensor]:
        pieces = self._leaves(theta)
        with torch.enable_grad():
            losses, carried = self._losses(pieces, carry)
        leaves = list(pieces.values())
        grads = torch.autograd.grad(losses, leaves, torch.ones_like(losses), allow_unused=True)
        return [losses.detach(), *_zero_if_unused(grads, leaves), *carried]

    def _hvp(self, theta: Tensor, v: Tensor) -> list[Tensor]:
        pieces, used, grads = self._graph(theta)
        parts = list(self.layout.split(v).values())
        cotangents = [parts[i] for i in used]
        return _zero_if_unused(torch.autograd.grad(grads, pieces, cotangents, allow_unused=True), pieces)

    def _ggn(self, theta: Tensor, v: Tensor) -> list[Tensor]:
        pieces = self._leaves(theta)
        leaves, parts = list(pieces.values()), list(self.layout.split(v).values())
        with torch.enable_grad():
            outputs = over_lanes(self.problem.outputs_of, pieces, self.batch)
            forward = self._pushed(outputs, leaves, parts)
            at = outputs.detach().requires_grad_()
            examples = self.problem.examples(self.batch)
            losses = over_lanes(lambda out, batch: self.problem.criterion(out[0], batch), (at,), examples)
            (slope,) = torch.autograd.grad(losses, at, torch.ones_like(losses), create_graph=True)
            bent = torch.autograd.grad(slope, at, forward)[0] if slope.requires_grad else torch.zeros_like(at)
            back = torch.autograd.grad(outputs, leaves, bent, allow_unused=True)
        products = _zero_if_unused(back, leaves)
        return [a + b for a, b in zip(products, self._penalty_product(theta, parts), strict=True)]

    @staticmethod
    def _pushed(outputs: Tensor, leaves: list[Tensor], parts: list[Tensor]) -> Tensor:
        """J v by two reverse passes: the derivative of u ↦ Jᵀu along v, for layers without a forward mode."""
        u = torch.zeros_like(outputs, requires_grad=True)
        pulled = torch.autograd.grad(outputs, leaves, u, create_graph=True, allow_unused=True)
        used = [(p, part) for p, part in zip(pulled, parts, strict=True) if p is not None]
        return torch.autograd.grad([p for p, _ in used], u, [part for _, part in used])[0]

    def _penalty_product(self, theta: Tensor, parts: list[Tensor]) -> list[Tensor]:
        penalty = self.problem.penalty
        pieces = self._leaves(theta)
        leaves = list(pieces.values())
        if penalty is None:
            return [torch.zeros_like(leaf) for leaf in leaves]
        with torch.enable_grad():
            values = over_lanes(lambda pieces, batch: penalty(pieces), pieces, self.batch)
            grads = torch.autograd.grad(values, leaves, torch.ones_like(values), create_graph=True, allow_unused=True)
            used = [(g, part) for g, part in zip(grads, parts, strict=True) if g is not None and g.requires_grad]
            if not used:
                return [torch.zeros_like(leaf) for leaf in leaves]
            products = torch.autograd.grad([g for g, _ in used], leaves, [p for _, p in used], allow_unused=True)
        return _zero_if_unused(products, leaves)

    def _rows_of_hessian(self, theta: Tensor, units: Tensor) -> list[Tensor]:
        """The products [lanes, n, D] of the Hessians with n vectors [n, D]."""
        pieces, used, grads = self._graph(theta)

        def product(unit: Tensor) -> Tensor:
            parts = list(self.layout.split(unit.expand(self.lanes, -1)).values())
            found = torch.autograd.grad(grads, pieces, [parts[j] for j in used], retain_graph=True, allow_unused=True)
            return torch.cat([p.reshape(self.lanes, -1) for p in _zero_if_unused(found, pieces)], dim=1)

        return [torch.vmap(product, out_dims=1)(units)]

    def _graph(self, theta: Tensor) -> tuple[list[Tensor], list[int], list[Tensor]]:
        """Pieces and their gradients with a graph; those that the loss does not depend on twice are left out."""
        leaves = self._leaves(theta)
        with torch.enable_grad():
            losses, _ = self._losses(leaves)
        pieces = list(leaves.values())
        grads = torch.autograd.grad(losses, pieces, torch.ones_like(losses), create_graph=True, allow_unused=True)
        used = [i for i, g in enumerate(grads) if g is not None and g.requires_grad]
        return pieces, used, [grads[i] for i in used]


def _if_any(
    make: Callable[..., tuple[Kernel, list[Tensor]]], active: Tensor, *operands: Tensor, **options: bool
) -> tuple[Kernel, list[Tensor]]:
    """An action that does nothing where no lane is active, and where its results lie.

    An accelerator is waited for to see who is: that takes less than an evaluation, and searches ask many times.
    """
    action, outputs = make(*operands, **options)
    return lambda: action() if active.any() else None, outputs


def _zero_if_unused(grads: Any, pieces: list[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(p) if g is None else g for g, p in zip(grads, pieces, strict=True)]


def _fill(compute: Callable[[], list[Tensor]], into: list[Tensor]) -> None:
    for target, result in zip(into, compute(), strict=True):
        target.copy_(result)
