"""Time grids: where in time the steps of a sampler lie."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from ..stages import Noise

Grid = Literal["uniform", "cosine", "equal"]


def time_grid(
    steps: int, t_min: float, grid: Grid = "uniform", noise: Noise | None = None, device: torch.device | str = "cpu"
) -> Float64[Tensor, " steps_and_one"]:
    """Times t_0 = 1 > t_1 > ... > t_N = t_min of N steps.

    uniform: equal distances, t_k = 1 - (1 - t_min) k / N.
    cosine: t_k = t_min + (1 - t_min) cos(pi k / 2N), which takes its time at the noisy end (the masking schedule of
    MaskGIT, arXiv 2202.04200, as a grid).
    equal: an equal probability of change a step, the steps of 1 - exp(-sigma(t_k)) being equal (this needs `noise`).
    With noise_loglinear that is uniform.
    """
    part = torch.arange(steps + 1, dtype=torch.float64, device=device) / steps
    if grid == "uniform":
        return torch.lerp(torch.ones_like(part), torch.full_like(part, t_min), part)
    if grid == "cosine":
        return t_min + (1 - t_min) * torch.cos(part * math.pi / 2)
    if noise is None:
        raise ValueError("the grid 'equal' follows the noise schedule, and needs it")
    ends = torch.tensor([1.0, t_min], dtype=torch.float64, device=device)
    first, last = -torch.expm1(-noise(ends).sigma)
    inside = noise.time(-torch.log1p(-torch.lerp(first, last, part[1:-1])))
    return torch.cat([ends[:1], inside, ends[1:]])
