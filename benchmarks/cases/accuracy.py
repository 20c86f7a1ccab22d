"""Bias of the bf16 loss, in per cent of the loss in float64 of the same features, weights and states."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..heads import HeadWork, head_work
from ..pairs import GRAPHS
from ..timing import Measurement, summary


@dataclass(frozen=True)
class Sizes:
    """Sizes of the case."""

    rows: tuple[int, int] = (4, 128)
    """Sequences of a batch, and their length."""
    width: int = 256
    """Width of the features."""
    vocab: int = 50257
    """Vocabulary size."""
    batches: int = 8
    """Batches with weights and states of their own."""


SIZES = {
    "full": Sizes(),
    "quick": Sizes(rows=(4, 64), batches=3),
    "tiny": Sizes(rows=(2, 8), width=16, vocab=50, batches=2),
    "cuda": Sizes(rows=(4, 512), width=768),
}


def measure(sizes: Sizes, device: torch.device) -> list[Measurement]:
    """Relative errors of the mean loss per batch: the median is the bias, the quartiles are its scatter.

    Args:
        sizes: Sizes of the case.
        device: Device of the products in bf16.
    """
    measurements: list[Measurement] = []
    for graph in GRAPHS:
        errors: dict[str, list[float]] = {"ours": [], "naive": []}
        for seed in range(sizes.batches):
            work = head_work(graph, "bf16", sizes.rows, sizes.width, sizes.vocab, device, seed=seed)
            with torch.no_grad():
                losses = {"ours": work.ours().double().mean(), "naive": work.naive().double().mean()}
                truth = exact_loss(work).mean()
            for name, loss in losses.items():
                errors[name].append(100 * (loss / truth - 1).item())
        measurements += [summary(f"{graph} bf16", name, "% bias", values) for name, values in errors.items()]
    return measurements


def exact_loss(work: HeadWork) -> torch.Tensor:
    """The naive loss [B] in float64.

    Args:
        work: What is measured; its network is in float64 afterwards.
    """
    work.both.naive.double().bf16 = False
    return HeadWork(work.both, work.tokens, work.x, work.t.double(), bf16=False).naive()
