"""Head and loss, forward and backward, where every row counts: against the naive one and its three bare products.

On a GPU also without the Triton kernel ("chunked").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..heads import head_work
from ..pairs import GRAPHS, BareProducts, precisions, states_of
from ..timing import Measurement, compared, interleaved


@dataclass(frozen=True)
class Sizes:
    """Sizes of the case."""

    rows: tuple[int, int] = (8, 256)
    """Sequences and their length."""
    width: int = 768
    """Width of the features."""
    vocab: int = 50257
    """Vocabulary size."""
    rounds: int = 3
    """Timed rounds."""


SIZES = {
    "full": Sizes(),
    "quick": Sizes(rows=(4, 64), rounds=3),
    "tiny": Sizes(rows=(2, 8), width=16, vocab=50, rounds=2),
    "cuda": Sizes(rows=(8, 1024), rounds=20),
}


def measure(sizes: Sizes, device: torch.device) -> list[Measurement]:
    """Ratios and seconds of both graphs in each precision.

    Args:
        sizes: Sizes of the case.
        device: Device to measure on.
    """
    return [
        measurement
        for graph in GRAPHS
        for precision in precisions(device)
        for measurement in _variant(graph, precision, sizes, device)
    ]


def _variant(graph: str, precision: str, sizes: Sizes, device: torch.device) -> list[Measurement]:
    work = head_work(graph, precision, sizes.rows, sizes.width, sizes.vocab, device)
    dtype, states = torch.bfloat16 if work.bf16 else torch.float32, states_of(graph, sizes.vocab)
    contenders = {
        "naive": lambda: work.backward("naive"),
        "ours": lambda: work.backward("ours"),
        **({"chunked": lambda: work.backward("chunked")} if work.has_kernel() else {}),
        "products": BareProducts(work.x.numel(), sizes.width, states, dtype, device),
    }
    seconds = interleaved(contenders, sizes.rounds, device)
    over = {"naive": "ours", "ours": "products", **({"chunked": "ours"} if work.has_kernel() else {})}
    return compared(f"{graph} {precision}", seconds, over)
