"""Conformance of backbones that take a sequence in blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from ..stages import BlockBackbone, NoiseLevel

NEAR = 1e-4
"""Largest difference between results of the same formula in float32, computed in batches of other shapes."""


@torch.no_grad()
def check_blocks(backbone: BlockBackbone, x: Tensor, level: NoiseLevel, cond: Tensor | None) -> None:
    """Check what a block reads: its own states and the clean tokens before it, at once or remembered.

    Args:
        backbone: Backbone in eval mode, whose block size is above 0 and below L.
        x: States [B, L], used as clean tokens too.
        level: Noise level [B].
        cond: Conditions [B, ...].

    Raises:
        AssertionError: A property does not hold.
    """
    size, clean = backbone.block_size, x.flip(1)
    whole = backbone(x, level, cond, clean=clean)
    for start in range(0, x.shape[1], size):
        end = min(start + size, x.shape[1])
        later, other = clean.clone(), x.clone()
        later[:, start:] = later[:, start:].roll(1, 0)  # of this block and later ones
        other[:, :start], other[:, end:] = other[:, :start].roll(1, 0), other[:, end:].roll(1, 0)
        for part, changed in (("clean tokens from itself on", (x, later)), ("noised states elsewhere", (other, clean))):
            error = _largest(backbone(changed[0], level, cond, clean=changed[1]), whole, start, end)
            assert error <= NEAR, f"block {start // size} must not depend on {part}, but moves by {error:.3g}"
    past = None
    for start in range(0, x.shape[1], size):
        block = slice(start, start + size)
        error = (backbone(x[:, block], level, cond, past=past) - whole[:, block]).abs().max().item()
        assert error <= NEAR, f"block {start // size} must be the same with what was remembered; differs by {error:.3g}"
        past = backbone.remember(clean[:, block], cond, past)
    different = backbone(x, level, cond, clean=clean.roll(1, 0))
    assert not torch.equal(different[:, size:], whole[:, size:]), "later blocks must depend on the clean tokens before"


def _largest(first: Tensor, second: Tensor, start: int, end: int) -> float:
    return (first - second)[:, start:end].abs().max().item()
