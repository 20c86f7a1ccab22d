"""Exact draws from large categorical laws, and laws made sharper."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ..errors import UserError

BLOCK = 256
CHUNK = 2**22
"""Numbers of a law that are worked on at once: float64 sums over float32 copy what they sum, here 32 MiB."""


def categorical(weights: Float[Tensor, "N S"], uniform: Float64[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """One draw per row, with probability proportional to `weights`, which are nonnegative.

    Two-level inverse CDF: a block of 256 states by the cumulated block sums, then a state within it. All sums are
    float64, also where the weights are float32: a cumulated float32 sum gives a third of the tokens with a
    probability below 1e-7 none at all, and races of exponentials with float32 uniforms cool the law. A state of
    weight 0 is never drawn.

    Raises:
        UserError: All weights of a row are 0.
    """
    rows, states = weights.shape
    blocks = torch.nn.functional.pad(weights, (0, -states % BLOCK)).view(rows, -(-states // BLOCK), BLOCK)
    sums = blocks.sum(-1, dtype=torch.float64)
    _check_mass(sums)
    block, rest = _invert(sums, uniform)
    inside = blocks[torch.arange(rows, device=weights.device), block].double()
    state, _ = _invert(inside, rest)
    return block * BLOCK + state


def _check_mass(sums: Float64[Tensor, "N K"]) -> None:
    """UserError where a row has no positive weight at all."""
    empty = int((sums.sum(-1) == 0).sum())
    if empty:
        raise UserError(
            f"No state can be drawn at {empty} of {len(sums)} positions: every state has probability 0 there. The "
            "model forbids them all (log-scores of -inf), or its scores are so rough that all were clipped: use "
            "another checkpoint, or more sampling steps."
        )


def row_chunks(rows: int, states: int) -> Iterator[slice]:
    """All rows of a [rows, states] tensor in order, in slices of at most CHUNK numbers (or of one row)."""
    size = max(CHUNK // states, 1)
    for start in range(0, rows, size):
        yield slice(start, start + size)


def sharpen(weights: Float[Tensor, "N S"], temperature: float, top_p: float) -> Float[Tensor, "N S"]:
    """Each weight to the power 1 / temperature, then the fewest largest whose share is at least top_p, others 0.

    Rows keep their sums, and weights of 0 stay 0. Top-p is nucleus sampling (Holtzman et al., arXiv 1904.09751).
    """
    largest = weights.amax(-1, keepdim=True)
    sharp = (weights / largest.where(largest > 0, 1.0)) ** (1 / temperature)
    if top_p < 1:
        ordered, places = sharp.sort(stable=True, dim=-1, descending=True)
        cumulated = ordered.cumsum(-1, dtype=torch.float64)
        kept = cumulated - ordered < top_p * cumulated[:, -1:]
        sharp = sharp * torch.zeros_like(kept).scatter(-1, places, kept)
    total, sharp_total = (probs.sum(-1, keepdim=True, dtype=torch.float64) for probs in (weights, sharp))
    return sharp * (total / sharp_total.where(total > 0, 1.0)).to(sharp.dtype)


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
