"""The model stage: the network's trunk and its linear head."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """A network from states and noise levels to features, with a linear head to one logit a state.

    It knows nothing of graphs: what the logits mean is the score head's business.
    """

    def __init__(self) -> None:
        super().__init__()

    @property
    @abstractmethod
    def head(self) -> nn.Linear:
        """The map from features to S logits, kept apart so that it runs only where its result counts."""

    @abstractmethod
    def forward(
        self, x: Int64[Tensor, "B L"], sigma: Float32[Tensor, "..."], cond: Tensor | None = None
    ) -> Float[Tensor, "B L D"]:
        """Features of states x at total noise sigma [B] or [B, L].

        cond: condition of each sequence: `Batch.cond` in training and in the bound, `sampling.sample(cond=...)` in
        sampling; None without one. A backbone that needs one, or takes none, raises a UserError that says so.
        """

    def logits(self, features: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape S"]:
        """One logit a state."""
        return self.head(features)
