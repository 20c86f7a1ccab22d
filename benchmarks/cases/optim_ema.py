"""Clipping, AdamW and the moving average, for gradients that are there: 30M parameters at full size."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sedd_core.training.batches import TIME_BINS

from ..timing import Measurement, compared, interleaved
from . import train_step


@dataclass(frozen=True)
class Sizes:
    """Sizes of the case."""

    network: train_step.Sizes = train_step.SIZES["full"]
    """The network whose parameters are updated."""
    rounds: int = 20
    """Timed rounds of one update."""


SIZES = {
    "full": Sizes(),
    "quick": Sizes(rounds=5),
    "tiny": Sizes(network=train_step.SIZES["tiny"], rounds=2),
    "cuda": Sizes(network=train_step.SIZES["cuda"], rounds=50),
}


def measure(sizes: Sizes, device: torch.device) -> list[Measurement]:
    """The ratio, and the seconds of an update.

    Args:
        sizes: Sizes of the case.
        device: Device to measure on.
    """
    tokens = torch.randint(sizes.network.vocab, (4 * sizes.network.batch, sizes.network.length))
    ours = train_step.our_trainer("uniform", "fp32", sizes.network, tokens, device)
    naive = train_step.naive_trainer("uniform", "fp32", sizes.network, tokens, device)
    for parameter in (*ours.parameters, *naive.parameters):
        parameter.grad = 1e-3 * torch.randn_like(parameter)
    stats = torch.zeros(2, TIME_BINS, dtype=torch.float64, device=ours.device)
    contenders = {"naive": naive.update, "ours": lambda: ours.update(stats.clone())}
    size = sum(parameter.numel() for parameter in ours.parameters)
    variant = f"{size / 1e6:.1f}M parameters"
    return compared(variant, interleaved(contenders, sizes.rounds, device), {"naive": "ours"})
