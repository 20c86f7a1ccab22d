"""Batches read from a file of token ids, against a Hugging Face data set and a DataLoader."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.training.batches import ShuffledIndices

from ..naive import chunk_loader
from ..timing import Measurement, compared, interleaved, summary


@dataclass(frozen=True)
class Sizes:
    """Sizes of the case."""

    batch: int = 32
    """Sequences per batch."""
    length: int = 1024
    """Tokens per sequence."""
    sequences: int = 4096
    """Sequences in the file."""
    batches: int = 128
    """Batches per timed round."""
    workers: tuple[int, ...] = (4, 0)
    """Worker processes of the DataLoader, as published (4) and none."""
    rounds: int = 5
    """Timed rounds."""


SIZES = {
    "full": Sizes(),
    "quick": Sizes(batches=64, sequences=2048, rounds=3),
    "tiny": Sizes(batch=2, length=8, sequences=64, batches=3, workers=(0,), rounds=2),
    "cuda": Sizes(batch=512, batches=16, sequences=16384),
}
VOCAB = 50257


def measure(sizes: Sizes, device: torch.device) -> list[Measurement]:
    """Ratios, and batches per second, for each number of workers.

    Args:
        sizes: Sizes of the case.
        device: Device to which batches are moved.
    """
    tokens = np.random.default_rng(0).integers(VOCAB, size=sizes.sequences * sizes.length, dtype=np.uint16)
    measurements: list[Measurement] = []
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "train.npy"), tokens)
        np.save(Path(folder, "valid.npy"), tokens[: sizes.length])
        ours = our_batches(Path(folder), sizes)
        for workers in sizes.workers:
            rows = Path(folder, f"rows_{workers}")
            naive = chunk_loader(tokens.astype(np.int32), sizes.length, sizes.batch, rows, workers)
            contenders = {
                name: _reading(batches, sizes, device) for name, batches in (("naive", naive), ("ours", ours))
            }
            seconds = interleaved(contenders, sizes.rounds, device, pause=0.5 if workers else 0.0)
            variant = f"{workers} workers"
            measurements += compared(variant, seconds, {"naive": "ours"})[:1]
            measurements += [
                summary(variant, name, "batches/s", [sizes.batches / value for value in values])
                for name, values in seconds.items()
            ]
    return measurements


def our_batches(folder: Path, sizes: Sizes) -> Iterator[Tensor]:
    """Endless shuffled batches [B, L] as training reads them.

    Args:
        folder: Folder of train.npy and valid.npy.
        sizes: Sizes of the case.
    """
    data = plugin("data_tokens")(
        path=str(folder / "train.npy"), valid_path=str(folder / "valid.npy"), vocab=VOCAB, length=sizes.length
    )
    train = data.split("train")
    shuffled = ShuffledIndices(len(train), seed=0)
    for step in count():
        yield train.batch(shuffled.indices(step, sizes.batch)).tokens


def _reading(batches: Iterator[Tensor], sizes: Sizes, device: torch.device) -> Callable[[], None]:
    def read() -> None:
        for _ in range(sizes.batches):
            next(batches).to(device)

    return read
