"""The model stage: a network's trunk and its linear head."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Abstract network from states and noise levels to features, with a linear head to one logit per state.

    It does not depend on the graph: the score head gives logits their meaning.
    """

    def __init__(self) -> None:
        super().__init__()

    @property
    @abstractmethod
    def head(self) -> nn.Linear:
        """The linear map from features to S logits, separate so that it runs only where logits are needed."""

    @abstractmethod
    def forward(
        self, x: Int64[Tensor, "B L"], sigma: Float32[Tensor, "..."], cond: Tensor | None = None
    ) -> Float[Tensor, "B L D"]:
        """Features of states.

        Args:
            x: States [B, L].
            sigma: Total noise [B] or [B, L].
            cond: Condition of each sequence: `Batch.cond` in training and in the bound, `sample(cond=...)` in
                sampling; None without one. A backbone that needs one, or takes none, raises a UserError that says so.

        Returns:
            Features [B, L, D].
        """

    def logits(self, features: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape S"]:
        """One logit per state [..., S] of features [..., D]."""
        return self.head(features)
