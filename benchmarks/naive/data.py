"""The published data path: a Hugging Face data set of token chunks, read by the workers of a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import DataLoader


def chunk_loader(
    tokens: np.ndarray, length: int, batch_size: int, folder: Path, workers: int
) -> Iterator[Int64[Tensor, "B L"]]:
    """Endless shuffled batches of tokens [B, L].

    Args:
        tokens: Token ids [N].
        length: Tokens per chunk; the remainder at the end is dropped.
        batch_size: Chunks per batch.
        folder: Folder for the data set, from which it is memory-mapped as the original does from its cache.
        workers: Number of processes that read; 0: this one.
    """
    from datasets import Dataset, disable_progress_bars, load_from_disk  # seconds to import, for this benchmark alone

    disable_progress_bars()
    chunks = tokens[: len(tokens) // length * length].reshape(-1, length)
    Dataset.from_dict({"input_ids": chunks}).save_to_disk(folder)
    rows = load_from_disk(folder).with_format("torch")
    loader = DataLoader(rows, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)  # pyright: ignore[reportArgumentType]
    while True:
        for batch in loader:
            yield batch["input_ids"]
