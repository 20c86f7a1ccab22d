"""The noise stage: how much noise there is at time t."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn


class NoiseLevel(NamedTuple):
    """Total noise sigma(t) and its derivative in t, both of the shape of t and float64."""

    sigma: Float[Tensor, "*shape"]
    rate: Float[Tensor, "*shape"]


class Noise(nn.Module, ABC):
    """A noise schedule; a learned one keeps its parameters here, and they are trained and saved."""

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, t: Float[Tensor, "*shape"]) -> NoiseLevel:
        """The noise at times t in [0, 1], of any shape, computed in float64."""

    @abstractmethod
    def time(self, sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The inverse: the time at which the total noise is sigma, computed in float64."""
