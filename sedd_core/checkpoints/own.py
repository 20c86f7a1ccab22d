"""The checkpoint folders of this project as a format (see `folder`)."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from ..record.record import Record
from ..stages import Format
from ..tensors import read_weights
from .folder import AVERAGE, CODEC, CONFIG, MODEL, MOMENTS, STATE, SUMS


class OwnFormat(Format):
    """Checkpoint folders that training runs write."""

    title = "a checkpoint folder"
    files = (CONFIG, MODEL, AVERAGE, CODEC, SUMS, STATE, f"{MOMENTS}/*")

    def matches(self, path: Path) -> bool:
        """Whether the folder has checksums, or weights beside a record: a damaged folder is still recognized."""
        return (path / SUMS).is_file() or ((path / MODEL).is_file() and "format" in config_of(path))

    def record(self, path: Path) -> Record:
        """The record of the run."""
        return Record.read(path / CONFIG)

    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        """The weights, or their averages."""
        return read_weights(path / (AVERAGE if averaged else MODEL))

    def tokenizer(self, path: Path) -> Path | None:
        """The tokenizer of the training data."""
        return path / CODEC


def config_of(path: Path) -> dict[str, object]:
    """The object in the config.json of a folder; {} if there is none.

    Args:
        path: Folder.
    """
    try:
        content = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
