"""The polynomial noise schedule: the probability that a token has been replaced is a power of time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import Noise, NoiseLevel


class Polynomial(Noise):
    """Polynomial schedule sigma(t) = -log(1 - (1 - eps) t^power).

    Args:
        power: Power of time; at 1 the schedule is log-linear.
        eps: Probability that a token is unchanged at t = 1.

    Raises:
        ValueError: power is not positive, or eps is out of range.

    Source: Shi et al., Simplified and Generalized Masked Diffusion (MD4, arXiv 2406.04329).
    """

    def __init__(self, *, power: float = 2.0, eps: float = 1e-3) -> None:
        super().__init__()
        if not power > 0:
            raise ValueError(f"power must be positive, not {power}")
        if not 0 < eps < 1:
            raise ValueError(f"eps must lie between 0 and 1, not {eps}")
        self.power, self.eps = power, eps

    def forward(self, t: Float[Tensor, "*shape"]) -> NoiseLevel:
        """sigma = -log1p(-r), rate = (1 - eps) power t^(power - 1) / (1 - r), with r = (1 - eps) t^power."""
        t = t.double()
        replaced = (1 - self.eps) * t**self.power
        kept = -torch.expm1(self.power * torch.log(t)) + self.eps * t**self.power  # exp(-sigma), without cancellation
        sigma = torch.where(replaced < 0.5, -torch.log1p(-replaced), -torch.log(kept))
        return NoiseLevel(t, sigma, (1 - self.eps) * self.power * t ** (self.power - 1) / kept)

    def time(self, sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """t = ((1 - exp(-sigma)) / (1 - eps))^(1 / power)."""
        return (-torch.expm1(-sigma.double()) / (1 - self.eps)) ** (1 / self.power)


@hookimpl
def sedd_noise() -> type[Noise]:
    """The class of this plugin."""
    return Polynomial
