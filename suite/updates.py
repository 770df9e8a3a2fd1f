"""What an optimizer's update costs by itself, on one flat θ, beside torch.optim and the least there is.

No gradient is computed: it lies there, and the update runs on it, over and over. The least
that an update can cost is the traffic it cannot do without: θ and the gradient read, θ
written, each vector of the state read and written, once. How long this machine takes to read
and write so many bytes is measured by turns with the updates, so that both find the same
caches and the same disturbances: by a copy, and by a vector scaled in place, of which the
quicker counts. That is the floor, and what is told of an update is how many times the floor it
takes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from analysis.replay import native
from analysis.replay.accelerator import accelerator
from analysis.replay.recorder import Kernel
from problems.layout import Layout, Piece
from problems.names import Spec, UsageError
from problems.problem import Data, Problem
from suite.environment import check_device, environment
from suite.lanes import Apart, lanes_of
from suite.machine import device_seconds
from suite.objective import Objective, rows
from suite.optimizers import optimizer
from suite.threads import one_thread

SIZES = (10**4, 10**5, 10**6, 10**7)
ROUNDS = 15
NOISY = 0.2  # interquartile range over median of the ratio from which it is marked
FLAT = "flat"  # the problem that updates are made for
Form = Literal["compiled", "uncompiled", "kernels", "for-loop", "foreach", "fused"]
FORMS: tuple[Form, ...] = ("compiled", "uncompiled", "kernels", "for-loop", "foreach", "fused")
OURS: tuple[native.Form, ...] = ("compiled", "uncompiled", "kernels")  # the suite's: see ``analysis.replay.native``

# What torch.optim has for an algorithm of ours: its class and settings at our defaults.
TORCH: Mapping[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.01}),
    "momentum": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.01}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.001, "alpha": 0.9}),
    "rmsprop_nesterov": (torch.optim.RMSprop, {"lr": 0.001, "alpha": 0.9, "momentum": 0.9}),
    "adam": (torch.optim.Adam, {"lr": 0.001}),
    "adamw": (torch.optim.AdamW, {"lr": 0.001}),
    "adamax": (torch.optim.Adamax, {"lr": 0.002}),
    "nadam": (torch.optim.NAdam, {"lr": 0.002}),
    "radam": (torch.optim.RAdam, {"lr": 0.001}),
    "adadelta": (torch.optim.Adadelta, {"lr": 1.0}),
    "rprop": (torch.optim.Rprop, {"lr": 0.01}),
}


@dataclass(frozen=True)
class Update:
    """The cost of one update in one form.

    Args:
        seconds: of an update, median over rounds; ``spread`` is the interquartile range.
        floor: seconds in which this machine reads and writes as many bytes, median over the same rounds.
        ratio, low, high: seconds over floor within a round: median and quartiles.
        traffic: bytes that must be moved.
        cold: whether caches were emptied before each update, as they always are on an accelerator; else vectors
            that fit into a processor's caches are found there, by the update and by the floor.
    """

    optimizer: str
    parameters: int
    form: Form
    dtype: str
    device: str
    seconds: float
    spread: float
    floor: float
    ratio: float
    low: float
    high: float
    traffic: int
    cold: bool = False
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def noisy(self) -> bool:
        """Whether the rounds differ so much that the machine was probably doing something else."""
        return self.high - self.low > NOISY * self.ratio

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return asdict(self)


class Frozen(Objective):
    """An objective whose gradient lies there already: evaluating it costs nothing."""

    def bind(
        self, kind: str, *operands: Tensor, taped: bool | None = None, carry: bool = False
    ) -> tuple[Kernel, list[Tensor]]:
        if kind != "gradient":
            raise UsageError(f"asks for {kind} evaluations, which are most of its cost")
        value = torch.zeros(self.lanes, dtype=operands[0].dtype, device=operands[0].device)
        return (lambda: None), [value, _gradient(self.lanes, self.problem.size, operands[0])]


@one_thread()
def measure(
    text: str | Spec,
    parameters: int,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    seconds: float = 1.0,
    cold: bool = False,
    forms: Sequence[Form] = FORMS,
) -> list[Update]:
    """The cost of an optimizer's update in each form that it has.

    Args:
        parameters: D, the length of θ.
        seconds: to spend on each form, about.
        cold: empty a processor's caches before each update, as a step does that moves more than they hold.

    Raises:
        UsageError: unknown names or devices, or an optimizer whose steps are not one update on one gradient.
    """
    check_device(device)
    spec = optimizer.bind(text)
    theta = rows(1, parameters, torch.empty(0, dtype=getattr(torch, dtype), device=device))
    theta.normal_(generator=torch.Generator(device).manual_seed(0))
    made: dict[Form, tuple[Callable[[], Any], Any]] = {}
    for form in forms:
        action = _ours(spec, theta, form) if form in OURS else _theirs(spec, theta, form)
        if action is not None:
            made[form] = action
    vectors = 3 + 2 * max(_vectors(state, parameters) for _, state in made.values())
    traffic = vectors * parameters * theta.element_size()
    actions: dict[str, Callable[[], Any]] = {
        **_floors(traffic, theta),
        **{form: action for form, (action, _) in made.items()},
    }
    cold = cold or accelerator(device) is not None
    times = _by_turns(actions, seconds, device, cold)
    times["floor"] = [min(each) for each in zip(times.pop("copy"), times.pop("scale"), strict=True)]
    rest = (str(spec), parameters)
    here = environment(device)
    return [_update(form, times, rest, (dtype, device, traffic, cold, here)) for form in made]


def _update(form: Form, times: Mapping[str, list[float]], of: tuple[str, int], rest: tuple[Any, ...]) -> Update:
    dtype, device, traffic, cold, here = rest
    low, middle, high = statistics.quantiles([a / b for a, b in zip(times[form], times["floor"], strict=True)], n=4)
    first, _, third = statistics.quantiles(times[form], n=4)
    return Update(
        *of,
        form,
        dtype,
        device,
        seconds=statistics.median(times[form]),
        spread=third - first,
        floor=statistics.median(times["floor"]),
        ratio=middle,
        low=low,
        high=high,
        traffic=traffic,
        cold=cold,
        environment=here,
    )


def flat(parameters: int, like: Tensor) -> Problem:
    """A problem of one vector and nothing else: what an update needs to be made for."""
    layout = Layout((Piece("theta", (parameters,), "other"),))
    data = Data((torch.zeros(1, 1, dtype=like.dtype, device=like.device),))
    return Problem(
        FLAT, layout, lambda pieces, batch: pieces["theta"], lambda out, batch: 0.5 * (out * out).sum(), data
    )


def _gradient(lanes: int, parameters: int, like: Tensor) -> Tensor:
    gradient = rows(lanes, parameters, like)
    return gradient.normal_(generator=torch.Generator(like.device).manual_seed(1))


def _ours(spec: Spec, theta: Tensor, form: native.Form) -> tuple[Callable[[], Any], Any] | None:
    """The suite's step on a frozen gradient; None for a form that it does not have here."""
    if form == "compiled" and native.compiler() is None:
        return None
    with native.used(form):
        lanes = lanes_of(flat(theta.shape[1], theta), [spec], theta, [0], 0, "reshuffle", Frozen)
        lanes.step(0)
    if isinstance(lanes, Apart) and form != "kernels":  # nothing is recorded, so there are no chains
        return None
    if lanes.errors:
        raise UsageError(f"{spec.name}: {next(iter(lanes.errors.values()))}")
    if not isinstance(lanes, Apart) and sum(lanes.calls()[0].values()) != 1:
        raise UsageError(
            f"{spec.name}: takes several gradients a step; they are most of its cost, so measure whole steps"
        )
    steps = iter(range(1, 10**15))
    return (lambda: lanes.step(next(steps))), lanes.state


def _theirs(spec: Spec, theta: Tensor, form: Form) -> tuple[Callable[[], Any], Any] | None:
    """torch.optim's step on a gradient of as many numbers; None where it has no such form."""
    if spec.name not in TORCH:
        return None
    kind, settings = TORCH[spec.name]
    parameter = torch.nn.Parameter(theta[0].clone())
    parameter.grad = _gradient(1, theta.shape[1], theta)[0].clone()
    settings = {
        **settings,
        **{"for-loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}[form],
    }
    try:
        instance = kind([parameter], **settings)
        instance.step()
    except (TypeError, RuntimeError, NotImplementedError):
        return None
    return instance.step, instance


def _vectors(state: Any, parameters: int) -> int:
    """How many vectors of θ's length a state holds."""
    from suite.stepping import held

    return sum(tensor.numel() // parameters for tensor in held(state))


def _floors(traffic: int, like: Tensor) -> dict[str, Callable[[], Any]]:
    """Two ways to read half of so many bytes and to write the other half: elsewhere, and in place."""
    count = traffic // 2 // like.element_size()
    source, target, own = (torch.ones(count, dtype=like.dtype, device=like.device) for _ in range(3))
    return {"copy": lambda: target.copy_(source), "scale": lambda: own.mul_(1.0)}


def _by_turns(
    actions: Mapping[str, Callable[[], Any]], seconds: float, device: str, cold: bool
) -> dict[str, list[float]]:
    """Seconds of each action, in rounds that go through all of them in a turning order."""
    names = list(actions)
    found: dict[str, list[float]] = {name: [] for name in names}
    for i in range(ROUNDS):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            found[name].append(device_seconds(actions[name], device, seconds / ROUNDS, cold))
    return found
