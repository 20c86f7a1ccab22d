"""The model as contracts see it: objectives and evaluators call it, without importing it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from .backbone import Backbone
from .graph import Graph
from .head import Head
from .noise import NoiseLevel
from .scores import LazyScores


@runtime_checkable
class ScoreNetwork(Protocol):
    """A backbone with the head that gives its logits their meaning on a graph: `model.ScoreModel`."""

    backbone: Backbone
    """Network from states and noise levels to features and logits."""
    graph: Graph
    """Forward process."""
    head: Head
    """Map from logits to log-scores."""

    def __call__(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        positions: Bool[Tensor, "B L"] | None = None,
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "... S"]:
        """Compute the log-scores log s(x) at a noise level; 0 at the current state.

        Args:
            x: States [B, L].
            level: Noise level [B] or [B, L].
            positions: Positions [B, L] to compute log-scores at; None: all.
            cond: Conditions [B, ...] for the network; None without.
            documents: Document [B, L] of each position, from `Batch.documents`; None: each row is one document.

        Returns:
            Log-scores [B, L, S], or [N, S] at the N selected positions.
        """
        ...

    def raw(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        positions: Bool[Tensor, "B L"],
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "N S"]:
        """Compute the log-scores [N, S] at `positions`, with an arbitrary entry at the current state.

        Args: as in `__call__`.
        """
        ...

    def lazy(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        positions: Bool[Tensor, "B L"],
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
    ) -> LazyScores:
        """Run the network without its head, which gives the log-scores at `positions` as they are asked for.

        Args: as in `__call__`.
        """
        ...

    def score_entropy(
        self,
        x: Int64[Tensor, "B L"],
        x0: Int64[Tensor, "B L"],
        level: NoiseLevel,
        positions: Bool[Tensor, "B L"],
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
        weight: Float64[Tensor, "..."] | None = None,
    ) -> Float64[Tensor, " B"]:
        """Compute the score entropy [B] of each sequence, summed over `positions`, in nats per unit of sigma.

        Unlike `raw` and `Graph.score_entropy`, it never holds the logits of all positions, nor their gradient. Every
        parameter gets a gradient, of zeros if there are no positions. The gradient costs least if the results have
        equal weight in what is differentiated, as in their mean; give `weight` for others.

        Args:
            x: Noised states [B, L].
            x0: Clean tokens [B, L].
            level: Noise level [B] or [B, L].
            positions: Positions [B, L] to sum over.
            cond: Conditions [B, ...] for the network; None without.
            documents: Document [B, L] of each position; None: each row is one document.
            weight: Factor of each sequence [B], or position [B, L]; None: 1.
        """
        ...
