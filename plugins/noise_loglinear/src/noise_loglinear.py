"""The log-linear noise schedule: the probability that a token has been replaced is linear in time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import Noise, NoiseLevel


class LogLinear(Noise):
    """Log-linear schedule sigma(t) = -log(1 - (1 - eps) t), published for the absorbing process.

    The probability of having been replaced is 1 - exp(-sigma) = (1 - eps) t.

    Args:
        eps: Probability that a token is unchanged at t = 1.

    Raises:
        ValueError: eps is out of range.

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
        kept = (1 - t) + self.eps * t  # exp(-sigma)
        sigma = torch.where(t < 0.5, -torch.log1p(-(1 - self.eps) * t), -torch.log(kept))
        return NoiseLevel(t, sigma, (1 - self.eps) / kept)

    def time(self, sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """t = (1 - exp(-sigma)) / (1 - eps)."""
        return -torch.expm1(-sigma.double()) / (1 - self.eps)


@hookimpl
def sedd_noise() -> type[Noise]:
    """The class of this plugin."""
    return LogLinear
