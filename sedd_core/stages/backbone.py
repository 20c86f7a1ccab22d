"""The model stage: a network's trunk and its linear head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ..errors import UserError
from .noise import NoiseLevel


class Backbone(nn.Module, ABC):
    """Abstract network from states and noise levels to features, with a linear head to one logit per state.

    A backbone is independent of the graph: the score head interprets its logits.
    """

    def __init__(self) -> None:
        super().__init__()

    @property
    def reads_noise(self) -> bool:
        """Whether features depend on the noise level; if not, a cache may keep those of unchanged states."""
        return True

    def without_cond(self, cond: Tensor, dropped: Bool[Tensor, " B"]) -> Tensor:
        """Conditions [B, ...] of which some are replaced by that of no condition.

        Args:
            cond: Conditions [B, ...]; see `forward`.
            dropped: Sequences [B] that lose theirs.

        Raises:
            UserError: The network has no such condition.
        """
        raise UserError(
            f"{type(self).__name__} has no condition that stands for none: set training.label_dropout=0, or choose a "
            "model that has one (model_ddit with num_classes)."
        )

    @classmethod
    def sizes_of(cls, state: Mapping[str, Tensor]) -> dict[str, int]:
        """Infer sizes of a network, as arguments of the constructor, from its stored tensors.

        Args:
            state: Tensors by name; their values are not read, and may be on the meta device.

        Raises:
            UserError: The network does not infer its sizes, or a tensor is missing.
        """
        raise UserError(f"{cls.__name__} does not infer its sizes from tensors.")

    @property
    @abstractmethod
    def head(self) -> nn.Linear:
        """The linear map from features to S logits; separate, so that it runs only at positions that need logits.

        Its weight is a parameter of the backbone, which may also be that of the states' embeddings.
        """

    @abstractmethod
    def forward(self, x: Int64[Tensor, "B L"], level: NoiseLevel, cond: Tensor | None = None) -> Float[Tensor, "B L D"]:
        """Compute the features of noised sequences.

        Args:
            x: States [B, L].
            level: Noise level [B] or [B, L], in float32.
            cond: Conditions [B, ...]: `Batch.cond` in training and in the bound, `sample(cond=...)` in sampling; None
                if the run has no conditions.

        Returns:
            Features [B, L, D].

        Raises:
            UserError: A condition is missing, or the backbone does not support conditions.
        """

    def logits(self, features: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape S"]:
        """One logit per state [..., S] of features [..., D]."""
        return self.head(features)


class DocumentBackbone(Backbone):
    """Abstract backbone whose rows may hold several documents, each independent of the others."""

    @abstractmethod
    def forward(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Compute the features of noised sequences.

        Args:
            x: States [B, L].
            level: Noise level [B] or [B, L], in float32.
            cond: Conditions [B, ...]; see `Backbone.forward`.
            documents: Document [B, L] of each position, as in `Batch`: its features depend on the states of its
                document alone, and are those that it has in a row of its own; None: each row is one document.

        Returns:
            Features [B, L, D].

        Raises:
            UserError: A condition is missing, or the backbone does not support conditions.
        """


class BlockBackbone(DocumentBackbone):
    """Abstract backbone that can take a sequence in blocks: each block is noised, and given the clean blocks before it.

    Source: Block Diffusion (Arriola et al. 2025, arXiv 2503.09573), sections 3 and 4.
    """

    block_size: int = 0
    """Length of a block; 0: the whole sequence is one block."""

    @abstractmethod
    def forward(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
        clean: Int64[Tensor, "B L"] | None = None,
        past: Any = None,
    ) -> Float[Tensor, "B L D"]:
        """Compute the features of noised sequences.

        Args:
            x: States [B, L]; with a past, those of the block after it.
            level: Noise level [B] or [B, L], in float32.
            cond: Conditions [B, ...]; see `Backbone.forward`.
            documents: Document [B, L] of each position; see `DocumentBackbone.forward`.
            clean: Clean tokens [B, L] of x: the features of a block depend on its states and on the clean tokens
                before it; None: x, of which all blocks but the last are clean then. Without blocks it is not read.
            past: What `remember` returned for all tokens before x, in place of `clean`; None: x starts the sequence.

        Returns:
            Features [B, L, D].

        Raises:
            UserError: A condition is missing, or the backbone does not support conditions, or these documents.
        """

    @abstractmethod
    def remember(self, clean: Int64[Tensor, "B P"], cond: Tensor | None = None, past: Any = None) -> Any:
        """Compute what later blocks need of clean blocks, once.

        Args:
            clean: Clean tokens [B, P] of whole blocks.
            cond: Conditions [B, ...]; see `Backbone.forward`.
            past: What this method returned for all tokens before them; None: they start the sequence.

        Returns:
            The past of the block after them, for `forward`.
        """
