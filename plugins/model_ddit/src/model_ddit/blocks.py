"""Attention of block diffusion: a noised block sees itself and the clean blocks before it.

Source: Block Diffusion (Arriola et al. 2025, arXiv 2503.09573), section 4 and appendix B.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .attention import Attend
from .sdpa import attend


class Past(NamedTuple):
    """Keys and values [B, P, H, d] of the clean tokens so far, of each transformer block."""

    keys: tuple[Float[Tensor, "B P H d"], ...]
    values: tuple[Float[Tensor, "B P H d"], ...]

    @property
    def length(self) -> int:
        """Number P of tokens."""
        return self.keys[0].shape[1]


def mask_beside_clean(length: int, size: int, device: torch.device) -> Bool[Tensor, "1 1 M M"]:
    """Pairs of positions of noised and then clean tokens, M = 2 L, that attend to each other.

    Noised tokens attend to those of their block and to the clean tokens of earlier blocks; clean tokens to those of
    their block and of earlier ones.

    Args:
        length: Number L of tokens.
        size: Length of a block.
        device: Device of the mask.
    """
    block = torch.arange(length, device=device) // size
    same, earlier = block[:, None] == block, block[:, None] > block
    noised = torch.cat([same, earlier], 1)
    clean = torch.cat([torch.zeros_like(same), same | earlier], 1)
    return torch.cat([noised, clean])[None, None]


def mask_after_past(length: int, past: int, size: int, *, clean: bool, device: torch.device) -> Bool[Tensor, "1 1 L M"]:
    """Pairs of L new positions and M = P + L past and new ones, of which the former attend to the latter.

    Args:
        length: Number L of new tokens.
        past: Number P of clean tokens before them.
        size: Length of a block.
        clean: Whether the new tokens are clean, so that later blocks of them see earlier ones.
        device: Device of the mask.
    """
    block = torch.arange(past, past + length, device=device) // size
    seen = block[:, None] >= block if clean else block[:, None] == block
    return torch.cat([seen.new_ones(length, past), seen], 1)[None, None]


def after_past(past: Past | None, layers: int, mask: Bool[Tensor, "1 1 L M"]) -> Iterator[tuple[Attend, list[Tensor]]]:
    """For each transformer block, its attention function, and a list that receives the keys and values it has seen.

    Args:
        past: Keys and values before the new ones; None: there are none.
        layers: Number of transformer blocks.
        mask: Pairs of positions, from `mask_after_past`.
    """
    for layer in range(layers):
        before = None if past is None else (past.keys[layer], past.values[layer])
        seen: list[Tensor] = []
        yield partial(_attend_after, before=before, seen=seen, mask=mask), seen


def _attend_after(
    q: Float[Tensor, "B L H d"],
    k: Float[Tensor, "B L H d"],
    v: Float[Tensor, "B L H d"],
    before: tuple[Tensor, Tensor] | None,
    seen: list[Tensor],
    mask: Bool[Tensor, "1 1 L M"],
) -> Float[Tensor, "B L H d"]:
    """Attention of new queries to past and new keys, which are put into `seen`."""
    if before is not None:
        k, v = torch.cat([before[0], k], 1), torch.cat([before[1], v], 1)
    seen[:] = k, v
    return attend(q, k, v, mask)
