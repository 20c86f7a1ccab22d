"""Exact draws from large categorical laws."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

BLOCK = 256


def categorical(weights: Float[Tensor, "N S"], uniform: Float64[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """One draw per row, with probability proportional to `weights` (nonnegative, some positive in every row).

    Two-level inverse CDF: a block of 256 states by the cumulated block sums, then a state within it. All sums are
    float64, also where the weights are float32: a cumulated float32 sum gives a third of the tokens with a
    probability below 1e-7 none at all, and races of exponentials with float32 uniforms cool the law. A state of
    weight 0 is never drawn.
    """
    rows, states = weights.shape
    blocks = torch.nn.functional.pad(weights, (0, -states % BLOCK)).view(rows, -(-states // BLOCK), BLOCK)
    block, rest = _invert(blocks.sum(-1, dtype=torch.float64), uniform)
    inside = blocks[torch.arange(rows, device=weights.device), block].double()
    state, _ = _invert(inside, rest)
    return block * BLOCK + state


def _invert(
    weights: Float64[Tensor, "N K"], uniform: Float64[Tensor, " N"]
) -> tuple[Int64[Tensor, " N"], Float64[Tensor, " N"]]:
    """The first index whose cumulated weight passes uniform * sum, and the uniform number left within it."""
    cumulated = weights.cumsum(-1)
    target = (uniform * cumulated[:, -1]).minimum(torch.nextafter(cumulated[:, -1], cumulated.new_zeros(())))
    index = torch.searchsorted(cumulated, target[:, None], right=True)
    here = weights.gather(-1, index)[:, 0]
    before = cumulated.gather(-1, index)[:, 0] - here
    rest = ((target - before) / here).clamp(0.0, 1.0)
    return index[:, 0], rest
