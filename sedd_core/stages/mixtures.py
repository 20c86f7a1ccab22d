"""Distributions over states [S], or one per leading axes of states [..., S]: draws and checks."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

TOLERANCE = 1e-9
"""Largest accepted deviation of the sum of pi from 1."""


def draw(probs: Float64[Tensor, "..."], uniform: Float64[Tensor, "B L"]) -> Int64[Tensor, "B L"]:
    """Draw states [B, L] from a distribution [S], or from one per sequence [B, S] or position [B, L, S]."""
    cumulated, points = probs.cumsum(-1), uniform[..., None].flatten(probs.ndim - 1)
    total = cumulated[..., -1:]
    below_one = torch.nextafter(total, torch.zeros_like(total))
    return torch.searchsorted(cumulated, (points * total).minimum(below_one), right=True).view(uniform.shape)


def check_components(pi: Float64[Tensor, " S"], components: Float64[Tensor, "K S"]) -> None:
    """Check that pi and components are distributions, and that components do not overlap; not on the meta device.

    Raises:
        ValueError: A distribution has a negative entry, or its sum is not 1; or components overlap.
    """
    if pi.is_meta:
        return
    for probs in (pi, *components):
        total = probs.detach().sum().item()
        if not (probs >= 0).all() or abs(total - 1) > TOLERANCE:
            least = probs.detach().min().item()
            raise ValueError(
                f"pi must be a distribution: its smallest entry is {least:.6g}, and its sum is {total:.12g}"
            )
    overlaps = ((components > 0).sum(0) > 1).nonzero()
    if len(overlaps):
        raise ValueError(f"components must not overlap: several are positive at state {int(overlaps[0])}")


def spans(components: Float64[Tensor, "K S"]) -> list[int]:
    """The first positive state and the one after the last of each component, in turn; all states on the meta device."""
    if components.is_meta:
        return [0, components.shape[1]] * len(components)
    positive = [(component > 0).nonzero()[:, 0].tolist() for component in components]
    return [end for states in positive for end in (states[0], states[-1] + 1)]
