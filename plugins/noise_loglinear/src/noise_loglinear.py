"""The log-linear schedule: the probability of having been replaced grows linearly in time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import Noise, NoiseLevel


class LogLinear(Noise):
    """sigma(t) = -log(1 - (1 - eps) t), so that 1 - exp(-sigma) = (1 - eps) t; the schedule of the absorbing process.

    Args:
        eps: Probability that a token is unchanged at t = 1.

    Source: SEDD, appendix C.1.
    """

    def __init__(self, *, eps: float = 1e-3) -> None:
        super().__init__()
        if not 0 < eps < 1:
            raise ValueError(f"eps must lie between 0 and 1, not {eps}")
        self.eps = eps

    def forward(self, t: Float[Tensor, "*shape"]) -> NoiseLevel:
        """sigma = -log1p(-(1 - eps) t), rate = (1 - eps) / (1 - (1 - eps) t)."""
        t = t.double()
        left = (1 - t) + self.eps * t
        sigma = torch.where(t < 0.5, -torch.log1p(-(1 - self.eps) * t), -torch.log(left))
        return NoiseLevel(sigma, (1 - self.eps) / left)

    def time(self, sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """t = (1 - exp(-sigma)) / (1 - eps)."""
        return -torch.expm1(-sigma.double()) / (1 - self.eps)


@hookimpl
def sedd_noise() -> type[Noise]:
    """The class of this plugin."""
    return LogLinear
