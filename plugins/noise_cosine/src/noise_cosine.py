"""The cosine noise schedule: the probability that a token has been replaced is the sine of an angle linear in time."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import Noise, NoiseLevel


class Cosine(Noise):
    """Cosine schedule sigma(t) = -log(1 - sin a) with the angle a = (1 - eps) pi t / 2.

    Args:
        eps: Distance of the angle from pi / 2 at t = 1, as a fraction; a token is then unchanged with probability
            1 - cos(eps pi / 2), about 1.2 eps^2.

    Raises:
        ValueError: eps is out of range.

    Source: Shi et al., Simplified and Generalized Masked Diffusion (MD4, arXiv 2406.04329), section 4.1; its ends
        are those of the code of Sahoo et al., The Diffusion Duality (arXiv 2506.10892).
    """

    def __init__(self, *, eps: float = 1e-3) -> None:
        super().__init__()
        if not 0 < eps < 1:
            raise ValueError(f"eps must lie between 0 and 1, not {eps}")
        self.eps = eps

    def forward(self, t: Float[Tensor, "*shape"]) -> NoiseLevel:
        """sigma = -log(1 - sin a), where 1 - sin a = 2 sin^2(pi/4 - a/2); rate = (1 - eps) pi/2 tan(pi/4 + a/2)."""
        t, speed = t.double(), (1 - self.eps) * math.pi / 2
        half = speed * t / 2
        early = -torch.log1p(-torch.sin(2 * half))
        late = -torch.log(2 * torch.sin(math.pi / 4 - half) ** 2)  # 1 - sin a, without cancellation near a = pi/2
        return NoiseLevel(t, torch.where(2 * half < 0.5, early, late), speed * torch.tan(math.pi / 4 + half))

    def time(self, sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """a = asin(1 - alpha), where for small alpha = exp(-sigma) this is pi/2 - 2 asin(sqrt(alpha / 2))."""
        sigma = sigma.double()
        early = torch.asin(-torch.expm1(-sigma))
        late = math.pi / 2 - 2 * torch.asin(torch.exp(-sigma / 2) / math.sqrt(2))
        return torch.where(sigma < 0.5, early, late) / ((1 - self.eps) * math.pi / 2)


@hookimpl
def sedd_noise() -> type[Noise]:
    """The class of this plugin."""
    return Cosine
