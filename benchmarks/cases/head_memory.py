"""Peak memory of head and loss, forward and backward, above weights and inputs: each in a fresh process.

The gradients of weight, bias and features count; the weights do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..heads import head_work
from ..pairs import GRAPHS, precisions, states_of
from ..timing import Measurement, in_fresh_process, peak_bytes, summary


@dataclass(frozen=True)
class Sizes:
    """Sizes of the case."""

    rows: tuple[int, int] = (16, 256)
    """Sequences and their length."""
    width: int = 768
    """Width of the features."""
    vocab: int = 50257
    """Vocabulary size."""
    rounds: int = 1
    """Processes per variant and implementation."""


SIZES = {
    "full": Sizes(),
    "quick": Sizes(rows=(4, 256), width=128),
    "tiny": Sizes(rows=(4, 64), width=64, vocab=5000),
    "cuda": Sizes(rows=(16, 1024)),
}


def measure(sizes: Sizes, device: torch.device) -> list[Measurement]:
    """Bytes per row and state of both implementations, and their ratio.

    Args:
        sizes: Sizes of the case.
        device: Device to measure on.
    """
    measurements: list[Measurement] = []
    for graph in GRAPHS:
        cells = sizes.rows[0] * sizes.rows[1] * states_of(graph, sizes.vocab)
        for precision in precisions(device):
            peaks = {
                name: [in_fresh_process(peak, name, graph, precision, sizes, str(device)) for _ in range(sizes.rounds)]
                for name in ("naive", "ours")
            }
            ratios = [naive / ours for naive, ours in zip(peaks["naive"], peaks["ours"], strict=True)]
            variant = f"{graph} {precision}"
            measurements.append(summary(variant, "naive / ours", "x", ratios))
            measurements += [
                summary(variant, name, "bytes per row and state", [value / cells for value in values])
                for name, values in peaks.items()
            ]
    return measurements


def peak(name: str, graph: str, precision: str, sizes: Sizes, device: str) -> int:
    """Peak bytes of one forward and backward pass, after one over few rows that loads what is loaded once.

    Args:
        name: "ours" or "naive".
        graph: "absorb" or "uniform".
        precision: "fp32" or "bf16".
        sizes: Sizes of the case.
        device: Device to measure on.
    """
    head_work(graph, precision, (1, 8), sizes.width, sizes.vocab, torch.device(device)).backward(name)
    work = head_work(graph, precision, sizes.rows, sizes.width, sizes.vocab, torch.device(device))
    return peak_bytes(lambda: work.backward(name), torch.device(device))
