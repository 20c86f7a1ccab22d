"""The linear noise schedule: a constant rate."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import Noise, NoiseLevel


class Linear(Noise):
    """Linear schedule sigma(t) = sigma_min + (sigma_max - sigma_min) t.

    Args:
        sigma_min: Total noise at t = 0.
        sigma_max: Total noise at t = 1.

    Raises:
        ValueError: Not 0 <= sigma_min < sigma_max.

    Source: Sahoo et al., Masked Diffusion Language Models (arXiv 2406.07524), class Linear of their code.
    """

    def __init__(self, *, sigma_min: float = 0.0, sigma_max: float = 10.0) -> None:
        super().__init__()
        if not 0 <= sigma_min < sigma_max:
            raise ValueError(f"sigma_min must lie between 0 and sigma_max={sigma_max}, not {sigma_min}")
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def forward(self, t: Float[Tensor, "*shape"]) -> NoiseLevel:
        """sigma = sigma_min + (sigma_max - sigma_min) t, rate = sigma_max - sigma_min."""
        t, rate = t.double(), self.sigma_max - self.sigma_min
        return NoiseLevel(t, self.sigma_min + rate * t, torch.full_like(t, rate))

    def time(self, sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """t = (sigma - sigma_min) / (sigma_max - sigma_min)."""
        return (sigma.double() - self.sigma_min) / (self.sigma_max - self.sigma_min)


@hookimpl
def sedd_noise() -> type[Noise]:
    """The class of this plugin."""
    return Linear
