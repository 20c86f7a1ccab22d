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
    """Abstract noise schedule.

    Its parameters and buffers are saved and loaded with the model. Parameters that require a gradient are refused for
    training: no objective has their exact gradient yet (`training.check_process_is_fixed`).
    """

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, t: Float[Tensor, "*shape"]) -> NoiseLevel:
        """The noise at times t in [0, 1], of any shape, computed in float64."""

    @abstractmethod
    def time(self, sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The inverse: the time at which the total noise is sigma, computed in float64."""
