"""Time grids: the times of the steps of a sampler."""

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
    """Times t_0 = 1 > t_1 > ... > t_N = t_min of N steps, [N + 1].

    - uniform: equal steps, t_k = 1 - (1 - t_min) k / N.
    - cosine: t_k = t_min + (1 - t_min) cos(pi k / 2N), with short steps at the noisy end.
    - equal: equal probability of change per step, i.e. equal steps of 1 - exp(-sigma(t_k)); identical to uniform for
      noise_loglinear.

    Args:
        steps: Number N of steps.
        t_min: Time at which the last step ends.
        grid: Kind of grid.
        noise: Noise schedule; required by "equal".
        device: Device of the times.

    Raises:
        ValueError: The grid is "equal" and `noise` is None.

    Source: "cosine" is the masking schedule of MaskGIT (arXiv 2202.04200) as a grid.
    """
    fraction = torch.arange(steps + 1, dtype=torch.float64, device=device) / steps
    if grid == "uniform":
        return torch.lerp(torch.ones_like(fraction), torch.full_like(fraction, t_min), fraction)
    if grid == "cosine":
        return t_min + (1 - t_min) * torch.cos(fraction * math.pi / 2)
    if noise is None:
        raise ValueError("the grid 'equal' depends on the noise schedule: pass noise")
    ends = torch.tensor([1.0, t_min], dtype=torch.float64, device=device)
    first, last = -torch.expm1(-noise(ends).sigma)
    inside = noise.time(-torch.log1p(-torch.lerp(first, last, fraction[1:-1])))
    return torch.cat([ends[:1], inside, ends[1:]])
