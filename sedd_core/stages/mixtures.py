"""Distributions over states [S], or one per leading axes of states [..., S]: entries, draws and checks."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

TOLERANCE = 1e-9
"""Largest accepted deviation of the sum of pi from 1."""


def entries(probs: Float64[Tensor, "..."], x: Int64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """The entry x [...] of distributions [..., S], of which each serves the states with its leading axes."""
    return probs.gather(-1, x[..., None].flatten(probs.ndim - 1)).view(x.shape)


def draw(probs: Float64[Tensor, "..."], uniform: Float64[Tensor, "B L"]) -> Int64[Tensor, "B L"]:
    """Draw states [B, L] from a distribution [S], or from one per sequence [B, S] or position [B, L, S]."""
    cumulated, points = probs.cumsum(-1), uniform[..., None].flatten(probs.ndim - 1)
    total = cumulated[..., -1:]
    below_one = torch.nextafter(total, torch.zeros_like(total))
    return torch.searchsorted(cumulated, (points * total).minimum(below_one), right=True).view(uniform.shape)


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
