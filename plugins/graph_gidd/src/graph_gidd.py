"""The forward process of GIDD: masking and uniform noise in a mixture that changes with the noise level."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import Graph, InterpolatingGraph, NoiseLevel


class GIDD(InterpolatingGraph):
    """Generalized interpolating process: uniform noise early, the mask late.

    With b = 2 p / (1 - p) and w(sigma) = 2 expm1(sigma) / (b + sqrt(b^2 + 4 expm1(sigma))), hence
    w^2 + b w = expm1(sigma), the states of replaced positions are B = exp(-sigma) (w^2 mask + b w uniform). Its
    published schedule is noise_gidd with the same p_uniform, under which w^2 = t / (1 - t).

    Args:
        vocab_size: Number V of data tokens; there are V + 1 states, of which the last is the mask.
        p_uniform: Largest share p of uniform noise, in [0, 1), reached at t = 1/2 of noise_gidd; at 0 the process is
            absorb.

    Raises:
        ValueError: p_uniform is out of range.

    Source: von Rütte et al., Generalized Interpolating Discrete Diffusion (arXiv 2503.04482), section 4, gamma = 1.
    """

    def __init__(self, *, vocab_size: int, p_uniform: float = 0.1) -> None:
        if not 0 <= p_uniform < 1:
            raise ValueError(f"p_uniform must lie in [0, 1), not {p_uniform}")
        limit = torch.zeros(vocab_size + 1, dtype=torch.float64)
        limit[vocab_size] = 1.0
        components = torch.stack([limit, (1 - limit) / vocab_size])
        super().__init__(limit, vocab_size=vocab_size, mask=vocab_size, components=components)
        self.b = 2 * p_uniform / (1 - p_uniform)

    def mixture_weights(self, level: NoiseLevel, since: NoiseLevel | None = None) -> Float64[Tensor, "*shape K"]:
        """[(w_a + w_b) mask + b uniform] / (w_a + w_b + b), from w_b^2 - w_a^2 and b (w_b - w_a) in B_b - e B_a."""
        to_mask = self._w(level) + (0.0 if since is None else self._w(since))
        uniform = self.b / (to_mask + self.b) if self.b else torch.zeros_like(to_mask)
        return torch.stack([1 - uniform, uniform], -1)

    def _w(self, level: NoiseLevel) -> Float64[Tensor, "..."]:
        replaced = torch.expm1(level.sigma.double())
        return 2 * replaced / (self.b + torch.sqrt(self.b**2 + 4 * replaced)).clamp(min=1e-300)


@hookimpl
def sedd_graph() -> type[Graph]:
    """The class of this plugin."""
    return GIDD
