"""Distributions over states [S], or one per position [..., S]: entries, draws and checks."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ..maths.categorical import categorical

TOLERANCE = 1e-9
"""Largest accepted deviation of the sum of pi from 1."""


def entries(probs: Float64[Tensor, "..."], x: Int64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """The entry x [...] of a distribution [S], or of one distribution per state [..., S]."""
    return probs[x] if probs.ndim == 1 else probs.gather(-1, x[..., None])[..., 0]


def draw(probs: Float64[Tensor, "..."], uniform: Float64[Tensor, "B L"]) -> Int64[Tensor, "B L"]:
    """Draw states [B, L] from a distribution [S], or from one per position [B, L, S]."""
    if probs.ndim > 1:
        return categorical(probs.flatten(0, 1), uniform.flatten()).view(uniform.shape)
    cumulated = probs.cumsum(0)
    below_one = torch.nextafter(cumulated[-1], cumulated.new_zeros(()))
    return torch.searchsorted(cumulated, (uniform * cumulated[-1]).minimum(below_one), right=True)


def check_distribution(pi: Float64[Tensor, " S"]) -> None:
    """Check that pi is a distribution, unless it is on the meta device.

    Raises:
        ValueError: It has a negative entry, or its sum is not 1.
    """
    if pi.is_meta:
        return
    total = pi.detach().sum().item()
    if not (pi >= 0).all() or abs(total - 1) > TOLERANCE:
        least = pi.detach().min().item()
        raise ValueError(f"pi must be a distribution: its smallest entry is {least:.6g}, and its sum is {total:.12g}")
