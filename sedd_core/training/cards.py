"""GPUs by name: their memory and their peak, for plans of runs and for the share of the peak that a run takes."""

from __future__ import annotations

from typing import NamedTuple


class Card(NamedTuple):
    """A GPU."""

    device: str
    """Part of the name that torch reports."""
    gib: float
    """Memory that torch sees, in GiB: somewhat less than its name says."""
    flops: float
    """Peak dense bf16 operations per second, with float32 sums."""


CARDS = {
    "B200": Card("B200", 178, 2250e12),
    "H200": Card("H200", 139, 989e12),
    "H100-80GB": Card("H100", 78, 989e12),
    "A100-80GB": Card("A100", 79, 312e12),
    "A100-40GB": Card("A100", 39, 312e12),
    "L40S": Card("L40S", 44, 362e12),
    "RTX 4090": Card("4090", 23.5, 165e12),
    "RTX 3090": Card("3090", 23.5, 71e12),
}
"""Source: NVIDIA's data sheets (the SXM form where there are several) and, for GeForce cards, the architecture papers
GA102 and Ada. Memory: of H100 and H200 as lenders of such machines state it, of the others estimated likewise."""


def peak_of(name: str) -> float | None:
    """Peak operations per second of a GPU; None for one that is not listed.

    Args:
        name: Name that torch reports.
    """
    return next((card.flops for card in CARDS.values() if card.device in name), None)
