"""The geometric noise schedule: the logarithm of the total noise is linear in time."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import Noise, NoiseLevel


class Geometric(Noise):
    """Geometric schedule sigma(t) = sigma_min^(1-t) sigma_max^t, published for the uniform process.

    Args:
        sigma_min: Total noise at t = 0 (1e-4 in the original code, 1e-5 in the paper).
        sigma_max: Total noise at t = 1.

    Raises:
        ValueError: The bounds are not finite, or not 0 < sigma_min < sigma_max.

    Source: SEDD, appendix C.1.
    """

    def __init__(self, *, sigma_min: float = 1e-4, sigma_max: float = 20.0) -> None:
        super().__init__()
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(
                f"0 < sigma_min < sigma_max < inf must hold, not sigma_min={sigma_min} and sigma_max={sigma_max}"
            )
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max

    def forward(self, t: Float[Tensor, "*shape"]) -> NoiseLevel:
        """sigma = sigma_min exp(t log(sigma_max / sigma_min)), rate = sigma log(sigma_max / sigma_min)."""
        span = math.log(self.sigma_max / self.sigma_min)
        t = t.double()
        sigma = self.sigma_min * torch.exp(t * span)
        return NoiseLevel(t, sigma, sigma * span)

    def time(self, sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """t = log(sigma / sigma_min) / log(sigma_max / sigma_min)."""
        return torch.log(sigma.double() / self.sigma_min) / math.log(self.sigma_max / self.sigma_min)


@hookimpl
def sedd_noise() -> type[Noise]:
    """The class of this plugin."""
    return Geometric
