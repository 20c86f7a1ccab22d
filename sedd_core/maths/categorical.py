"""Exact sampling from large categorical distributions, and their sharpening by temperature and top-p."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ..errors import UserError

BLOCK = 256
"""States per block of the two-level inverse CDF."""
CHUNK = defaultdict(lambda: 2**22, cuda=2**27)
"""Probabilities processed at once by device type: 16 MiB of float32, which fit a CPU's cache, or 512 MiB on a GPU."""

NOT_FINITE = (
    "The model produced NaN or infinite scores, so no tokens can be drawn: its training diverged, or its weights are "
    "damaged. Use an earlier checkpoint."
)


def categorical(weights: Float[Tensor, "N S"], uniform: Float64[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """Draw one state per row, with probability proportional to its weight.

    Two-level inverse CDF: a block of 256 states by the cumulative block sums, then a state within the block. A block is
    summed in the dtype of the weights, to 1e-6 of its own probability; all else is float64: a float32 cumulative sum
    gives probability 0 to a third of the tokens below 1e-7, and exponential races with float32 uniforms sharpen the
    distribution. A state of weight 0 is never drawn.

    Args:
        weights: Nonnegative weights [N, S].
        uniform: Uniform numbers [N] in (0, 1).

    Returns:
        States [N].

    Raises:
        UserError: All weights of a row are 0.
    """
    states = weights.shape[1]
    whole = weights[:, : states - states % BLOCK].unflatten(1, (-1, BLOCK)).sum(-1)
    sums = torch.cat([whole, weights[:, whole.shape[1] * BLOCK :].sum(-1, keepdim=True)], 1).double()
    _check_mass(sums)
    block, rest = _invert(sums, uniform)
    index = block[:, None] * BLOCK + torch.arange(BLOCK, device=weights.device)
    inside = weights.gather(1, index.clamp(max=states - 1)).double().masked_fill(index >= states, 0.0)
    state, _ = _invert(inside, rest)
    return block * BLOCK + state


def _check_mass(sums: Float64[Tensor, "N K"]) -> None:
    """Raise a UserError if all weights of a row are 0, or one is not finite."""
    total = sums.sum(-1)
    if not (wrong := ~((total > 0) & total.isfinite())).any():
        return
    if not total.isfinite().all():
        raise UserError(NOT_FINITE)
    raise UserError(
        f"No state can be drawn at {int(wrong.sum())} of {len(sums)} positions: every state has probability 0. Either "
        "the model forbids all states (log-scores of -inf), or its scores are so inaccurate that all probabilities "
        "were clipped. Use another checkpoint or more sampling steps."
    )


def row_chunks(rows: int, states: int, device: torch.device | str = "cpu") -> Iterator[slice]:
    """Slices that cover the rows of a [rows, states] tensor in order, each of at most CHUNK numbers or one row.

    Args:
        rows: Number of rows.
        states: Numbers per row.
        device: Device of the tensor: the larger its pieces, the fewer kernels start, and waits for it.
    """
    size = max(CHUNK[torch.device(device).type] // states, 1)
    for start in range(0, rows, size):
        yield slice(start, start + size)


def sharpen(weights: Float[Tensor, "N S"], temperature: float, top_p: float) -> Float[Tensor, "N S"]:
    """Raise weights to the power 1 / temperature, then keep the smallest set of largest weights with share >= top_p.

    Each row keeps its sum, and weights of 0 remain 0.

    Args:
        weights: Nonnegative weights [N, S].
        temperature: Temperature; below 1 sharpens.
        top_p: Share in (0, 1] of each row's sum to keep.

    Source: top-p is nucleus sampling (Holtzman et al., arXiv 1904.09751).
    """
    largest = weights.amax(-1, keepdim=True)
    sharp = (weights / largest.where(largest > 0, 1.0)) ** (1 / temperature)
    if top_p < 1:
        ordered, order = sharp.sort(stable=True, dim=-1, descending=True)
        cumulative = ordered.cumsum(-1, dtype=torch.float64)
        kept = cumulative - ordered < top_p * cumulative[:, -1:]
        sharp = sharp * torch.zeros_like(kept).scatter(-1, order, kept)
    total, sharp_total = (probs.sum(-1, keepdim=True, dtype=torch.float64) for probs in (weights, sharp))
    return sharp * (total / sharp_total.where(total > 0, 1.0)).to(sharp.dtype)


def _invert(
    weights: Float64[Tensor, "N K"], uniform: Float64[Tensor, " N"]
) -> tuple[Int64[Tensor, " N"], Float64[Tensor, " N"]]:
    """The first index [N] whose cumulative weight exceeds uniform * sum, and the rescaled remainder [N] within it."""
    cumulative = weights.cumsum(-1)
    target = (uniform * cumulative[:, -1]).minimum(torch.nextafter(cumulative[:, -1], cumulative.new_zeros(())))
    index = torch.searchsorted(cumulative, target[:, None], right=True)
    weight = weights.gather(-1, index)[:, 0]
    before = cumulative.gather(-1, index)[:, 0] - weight
    rest = ((target - before) / weight).clamp(0.0, 1.0)
    return index[:, 0], rest
