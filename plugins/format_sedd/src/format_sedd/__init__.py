"""The checkpoint layouts of SEDD's own code: published models, and run folders of the original implementation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sedd_core import hookimpl
from sedd_core.record import Record
from sedd_core.stages import Format

from .original import has_config, is_original, original_record, original_weights
from .published import (
    CONFIG,
    PICKLED,
    SAFE,
    TOKENIZER,
    is_published,
    published_record,
    published_weights,
    write_published,
)


class SEDDFormat(Format):
    """Published SEDD models, and run folders of the original implementation.

    Published models have one set of weights; run folders of the original also have averages, in parameter order.

    Source: Lou et al., github.com/louaaron/Score-Entropy-Discrete-Diffusion.
    """

    title = "a published SEDD model, or a run folder of the original code"
    files = (CONFIG, SAFE, PICKLED, TOKENIZER)

    def matches(self, path: Path) -> bool:
        """Whether the folder has .hydra/ and checkpoints-meta/, or weights and a config of graph, noise, model."""
        return is_original(path) or is_published(path)

    def record(self, path: Path) -> Record:
        """Graph, noise, head, network and training length of the config."""
        return original_record(path) if has_config(path) else published_record(path)

    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        """The weights, under the original's names, which model_ddit has too."""
        return original_weights(path, averaged) if has_config(path) else published_weights(path)

    def tokenizer(self, path: Path) -> Path | None:
        """The tokenizer.json that an export has; published models come without one."""
        return path / TOKENIZER if (path / TOKENIZER).is_file() else None

    def write(self, folder: Path, record: Record, weights: Mapping[str, Tensor]) -> None:
        """Write config.json and model.safetensors."""
        write_published(folder, record, weights)


@hookimpl
def sedd_format() -> type[Format]:
    """The class of this plugin."""
    return SEDDFormat
