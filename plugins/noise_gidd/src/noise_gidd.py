"""The noise schedule of GIDD."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import Noise, NoiseLevel


class GIDDNoise(Noise):
    """Schedule sigma(t) = log(1 + c(t)) - log(1 - t) with c = b sqrt(t (1 - t)) and b = 2 p / (1 - p).

    Times are held in [1e-4, 1 - 1e-4], as published: at 0 and 1 the rate is infinite.

    Args:
        p_uniform: Largest share p of uniform noise, in [0, 1), as in graph_gidd.

    Raises:
        ValueError: p_uniform is out of range.

    Source: von Rütte et al., Generalized Interpolating Discrete Diffusion (arXiv 2503.04482), section 4, gamma = 1.
    """

    T_EPS = 1e-4

    def __init__(self, *, p_uniform: float = 0.1) -> None:
        super().__init__()
        if not 0 <= p_uniform < 1:
            raise ValueError(f"p_uniform must lie in [0, 1), not {p_uniform}")
        self.b = 2 * p_uniform / (1 - p_uniform)

    def forward(self, t: Float[Tensor, "*shape"]) -> NoiseLevel:
        """sigma = log1p(c) - log1p(-t), rate = b (1 - 2 t) / (2 sqrt(t (1 - t)) (1 + c)) + 1 / (1 - t)."""
        t = t.double().clamp(self.T_EPS, 1 - self.T_EPS)
        root = torch.sqrt(t * (1 - t))
        c = self.b * root
        return NoiseLevel(
            t, torch.log1p(c) - torch.log1p(-t), self.b * (1 - 2 * t) / (2 * root * (1 + c)) + 1 / (1 - t)
        )

    def time(self, sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """t = w^2 / (1 + w^2) with w^2 + b w = expm1(sigma)."""
        replaced = torch.expm1(sigma.double())
        w = 2 * replaced / (self.b + torch.sqrt(self.b**2 + 4 * replaced))
        return w**2 / (1 + w**2)


@hookimpl
def sedd_noise() -> type[Noise]:
    """The class of this plugin."""
    return GIDDNoise
