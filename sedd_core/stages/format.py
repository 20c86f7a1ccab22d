"""The format stage: reads models from checkpoint layouts of other origin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..errors import UserError
from ..record.record import Record


class Format(ABC):
    """Abstract reader of one checkpoint layout: a folder, or a single file.

    A checkpoint is data: reading one executes no code in it. `sedd_core.tensors` reads weights, pickled ones too,
    under this rule. Damaged and missing files raise `UserError`.
    """

    title: str
    """Short name of the layout, for messages: "a published SEDD model"."""
    files: tuple[str, ...]
    """Names of the layout's files, or patterns of them (`*.safetensors`), which the hub is asked for."""
    precision: str = ""
    """Precision in which the authors' code runs the network ("bfloat16 autocast"), for `inspect`; "" if unknown."""

    added_tokens: tuple[str, ...] = ()
    """Tokens that the authors' code appends to the published tokenizer, which a tokenizer without them is given."""

    @abstractmethod
    def matches(self, path: Path) -> bool:
        """Whether a checkpoint is in this layout: cheap, without reading weights, and False for anything unknown.

        Args:
            path: Folder or file.

        Raises:
            UserError: The user may not read a file that decides.
        """

    @abstractmethod
    def record(self, path: Path) -> Record:
        """Describe the model of a checkpoint: a run with the nodes graph, noise, model and head.

        Args:
            path: Folder or file in this layout.

        Raises:
            UserError: The description is missing, damaged, or not expressible by plugins.
        """

    @abstractmethod
    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        """Read the weights of a checkpoint.

        Args:
            path: Folder or file in this layout.
            averaged: Whether to return the averaged weights, where the layout has both.

        Returns:
            Tensors on the CPU by the backbone's names; those of the noise schedule and the graph have the prefix
            `noise.` or `graph.`.

        Raises:
            UserError: The weights are missing or damaged, or contain more than data.
        """

    def tokenizer(self, path: Path) -> Path | None:
        """File or folder that `text.read_tokenizer` reads; None if the checkpoint has no tokenizer.

        Args:
            path: Folder or file in this layout.
        """
        return None

    def write(self, folder: Path, record: Record, weights: Mapping[str, Tensor]) -> None:
        """Write a model in this layout, without its tokenizer.

        Args:
            folder: Existing empty folder.
            record: Record of the model; its `length` is the number of tokens per training sequence, 0 if unknown.
            weights: Tensors by name, as from `weights`.

        Raises:
            UserError: The layout cannot be written, or cannot express the model.
        """
        raise UserError(
            f"{self.title[:1].upper()}{self.title[1:]} can be read, but not written. Choose another format."
        )
