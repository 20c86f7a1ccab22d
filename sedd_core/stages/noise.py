"""The noise stage: the total noise at time t."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn


class NoiseLevel(NamedTuple):
    """Total noise sigma(t) and its derivative in t, both float64 and of the shape of t."""

    sigma: Float[Tensor, "*shape"]
    rate: Float[Tensor, "*shape"]


class Noise(nn.Module, ABC):
    """Abstract noise schedule.

    Parameters and buffers are saved and loaded with the model. Parameters that require a gradient are refused in
    training: no objective has their exact gradient (`training.trainer.check_process_is_fixed`).
    """

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, t: Float[Tensor, "*shape"]) -> NoiseLevel:
        """The noise level at times t [...] in [0, 1], in float64."""

    @abstractmethod
    def time(self, sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The inverse of sigma(t): the times [...] at which the total noise is sigma [...], in float64."""
