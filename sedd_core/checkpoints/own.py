"""The checkpoint folders of this project as a format (see `folder`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ..record import Node, Record
from ..stages import Format
from ..tensors import read_weights
from .length import trained_length
from .sums import AVERAGE, CODEC, CONFIG, MODEL, MOMENTS, STATE, SUMS


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

    def write(self, folder: Path, record: Record, weights: Mapping[str, Tensor]) -> None:
        """Write the weights, as their averages too, and a record of the model alone."""
        content = {name: value.contiguous() for name, value in weights.items()}
        for name in (MODEL, AVERAGE):
            save_file(content, folder / name, {"format": "pt"})
        nodes: dict[str, Any] = {stage: record.node(stage) for stage in ("graph", "noise", "head", "model")}
        length = record.length or trained_length(record)
        Record(run=Node("core", "Train", {**nodes, "length": length})).write(folder / CONFIG)


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
