"""The noise stage: the noise level at time t."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Shaped
from torch import Tensor, nn

from ..maths.numerics import expand_to


class NoiseLevel(NamedTuple):
    """How noisy data is: the one quantity that graphs, heads, backbones and objectives are given.

    sigma = -log alpha is the clock of the forward process: graphs read sigma alone, so that any noise schedule goes
    with any graph. The time is for networks that were trained on it.

    Attributes:
        t: Times in [0, 1] [...], float64.
        sigma: Total noise [...], float64, from 0 (clean) to infinity.
        rate: Derivative of sigma in t [...], float64.
    """

    t: Float[Tensor, "*shape"]
    sigma: Float[Tensor, "*shape"]
    rate: Float[Tensor, "*shape"]

    @classmethod
    def of_sigma(cls, sigma: Float[Tensor, "*shape"]) -> NoiseLevel:
        """The level of total noise sigma [...] under the schedule sigma(t) = t, for laws that read sigma alone."""
        sigma = sigma.double()
        return cls(sigma, sigma, torch.ones_like(sigma))

    def at(self, x: Shaped[Tensor, "*states"], positions: Bool[Tensor, "*states"] | None = None) -> NoiseLevel:
        """The level of each state of x [...], or [N] of the states at selected positions.

        Args:
            x: States; the level is expanded over their trailing axes.
            positions: Positions to select; None: all.
        """
        level = NoiseLevel(*(expand_to(part, x) for part in self))
        return level if positions is None else level.pick(positions.nonzero(as_tuple=True))  # one wait for a GPU

    def pick(self, index: Any) -> NoiseLevel:
        """The levels at an index, mask or slice of the leading axes."""
        return NoiseLevel(*(part[index] for part in self))

    def between(self, other: NoiseLevel, sigma: Float64[Tensor, "*shape"]) -> NoiseLevel:
        """The level of total noise sigma [...] between this level and another, as inside of a sampler's step.

        Time and rate are interpolated in 1 - exp(-sigma), which is exact where that is linear in time (absorb's usual
        schedule); graphs read sigma alone.
        """
        start, end, here = (torch.expm1(-noise) for noise in (self.sigma, other.sigma, sigma))
        share = (here - start) / (end - start).where(end != start, 1.0)
        return NoiseLevel(torch.lerp(self.t, other.t, share), sigma, torch.lerp(self.rate, other.rate, share))

    def flatten(self) -> NoiseLevel:
        """The levels with one axis."""
        return NoiseLevel(*(part.flatten() for part in self))

    def to(self, target: torch.device | torch.dtype) -> NoiseLevel:
        """The level on another device, or in another dtype."""
        return NoiseLevel(*(part.to(target) for part in self))

    def elapsed(self, since: NoiseLevel | None) -> Float64[Tensor, "..."]:
        """Noise [...] added after the level `since`; since None, that is after clean data, all of it."""
        return self.sigma.double() if since is None else self.sigma.double() - since.sigma.double()


class Noise(nn.Module, ABC):
    """Abstract noise schedule.

    Parameters and buffers are saved and loaded with the model. Parameters that require a gradient are refused in
    training: no objective has their exact gradient (`training.loss.check_process_is_fixed`).
    """

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, t: Float[Tensor, "*shape"]) -> NoiseLevel:
        """The noise level at times t [...] in [0, 1], in float64."""

    @abstractmethod
    def time(self, sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The inverse of sigma(t): the times [...] at which the total noise is sigma [...], in float64."""

    def at_sigma(self, sigma: Float[Tensor, "*shape"]) -> NoiseLevel:
        """The level of any total noise.

        Beyond the ends of the schedule, sigma is kept, while the time and the rate are those of the nearer end.

        Args:
            sigma: Total noise [...] in [0, inf].
        """
        sigma = sigma.double()
        ends = self(torch.tensor([0.0, 1.0], dtype=torch.float64, device=sigma.device)).sigma
        nearest = self(self.time(sigma.clamp(ends[0], ends[1])).clamp(0.0, 1.0))
        return NoiseLevel(nearest.t, sigma, nearest.rate)
