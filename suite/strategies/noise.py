"""Gradient noise, from random numbers that a lane can draw by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from problems.bounds import NonNegative, Positive
from suite.optimizers.base import Optimizer, Oracle, State, among, dot, optimizer

if TYPE_CHECKING:
    from torch import Tensor


@optimizer(section="8.4", reference="Neelakantan et al. 2015, equation 1")
def gradient_noise(optimizer: Optimizer, eta: Positive = 0.01, gamma: NonNegative = 0.55) -> Optimizer:
    """Gradient noise: g ← g + n with n ~ N(0, σₜ²) and σₜ² = η/(1 + t)^γ at step t = 0, 1, ….

    The paper chooses η of 0.01, 0.3 or 1. The noise depends on the bits of θ₀ (and so on the run's seed), on t
    and on the coordinate; every gradient of a step gets the same. So a step's loss is L(θ) + nᵀθ, whose gradient
    this is, and that is what line searches look at. Losses that are recorded are without it.
    """
    inner = optimizer

    def changed(oracle: Oracle, state: State) -> _Tilted:
        def tilt(theta: Tensor) -> Tensor:
            spread = (eta / (1 + state["t"]) ** gamma) ** 0.5
            return spread * normal(state["key"], state["t"], len(theta)).to(theta.dtype)

        return _Tilted(oracle, tilt)

    def init(oracle: Oracle, theta: Tensor) -> State:
        own = {"key": key_of(theta), "t": 0.0}
        return {"inner": inner.init(changed(oracle, own), theta), **own}

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        theta, within = inner.step(changed(oracle, state), state["inner"], theta)
        return theta, {"inner": within, "key": state["key"], "t": state["t"] + 1}

    return replace(inner, init=init, step=step, readout=lambda state, theta: inner.readout(state["inner"], theta))


@dataclass(frozen=True)
class _Tilted:
    """The oracle of L(θ) + nᵀθ, with another n at each step."""

    oracle: Oracle
    tilt: Callable[[Tensor], Tensor]
    steady = False

    def value(self, theta: Tensor) -> Tensor:
        return self.oracle.value(theta) + dot(theta, self.tilt(theta))

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        value, g = self.oracle.gradient(theta)
        n = self.tilt(theta)
        return value + dot(theta, n), g + n

    def among(self, active: Tensor) -> _Tilted:
        return replace(self, oracle=among(self.oracle, active))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.oracle, name)


def key_of(theta: Tensor) -> Tensor:
    """A whole number made of the bits of θ, the same in whatever order they are summed."""
    import torch

    mantissa, exponent = torch.frexp(theta.to(torch.float64))  # a view as whole numbers lifts from torch 2.12 on only
    bits = (mantissa * 2.0**53).to(torch.int64) * 2048 + exponent
    index = torch.arange(1, len(theta) + 1, device=theta.device)
    return _mixed(bits * index).sum()


def normal(key: Tensor, t: Any, n: int) -> Tensor:
    """n standard normal numbers in float64 from a counter (Box & Muller on SplitMix64), so that they lift to lanes."""
    import torch

    index = torch.arange(n, device=key.device)
    counter = _mixed(_mixed(index + key) + torch.as_tensor(t, device=key.device).to(torch.int64))
    bits = [(_mixed(counter + c) >> 11) & (2**53 - 1) for c in (1, 2)]
    first, second = (one.to(torch.float64) * 2.0**-53 for one in bits)  # in float32 the last ones below 1 would be 1
    return (-2 * (1 - first).log()).sqrt() * (2 * torch.pi * second).cos()


def _mixed(x: Tensor) -> Tensor:
    """SplitMix64's scrambling of 64-bit numbers (Steele, Lea & Flood 2014), which wrap around."""
    x = x * -0x61C8864680B583EB
    x = (x ^ ((x >> 30) & (2**34 - 1))) * -0x40A7B892E31B1A47
    x = (x ^ ((x >> 27) & (2**37 - 1))) * -0x6B2FB644ECCEEE15
    return x ^ ((x >> 31) & (2**33 - 1))
