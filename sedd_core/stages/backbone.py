"""The model stage: a network's trunk and its linear head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..errors import UserError
from .noise import NoiseLevel


class Backbone(nn.Module, ABC):
    """Abstract network from states and noise levels to features, with a linear head to one logit per state.

    A backbone is independent of the graph: the score head interprets its logits.
    """

    def __init__(self) -> None:
        super().__init__()

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
