"""The head stage: what a network's logits mean, as log-scores and as a mean."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ..maths.numerics import row_scores
from .graph import Graph
from .noise import NoiseLevel


class Head(ABC):
    """Abstract map from the logits of a backbone to the log-scores of a graph.

    A head asks no graph's type: `Graph.score_from_mean`, `mean_from_score` and `score_offset` are all it needs.
    """

    def warning(self, graph: Graph) -> str | None:
        """The reason why training with a graph is unwise, as a sentence; None if it is not."""
        return None

    def offset(self, x: Int64[Tensor, "*shape"], level: NoiseLevel, graph: Graph) -> Float64[Tensor, "*shape"] | None:
        """What `log_score` adds to all logits of a position [...]; None (the default) if it does anything else.

        With an offset, training never holds the logits of all states. Args: as in `log_score`.
        """
        return None

    def others(self, x: Int64[Tensor, "*shape"], level: NoiseLevel, graph: Graph) -> Float64[Tensor, "*shape"] | None:
        """Sum [...] of the scores of all states but x, if no logits change it; None (the default) if they do.

        With it, samplers decide which positions move before logits are computed. x is reachable. Args: as in
        `log_score`.
        """
        return None

    @abstractmethod
    def log_score(
        self, logits: Float[Tensor, "*shape S"], x: Int64[Tensor, "*shape"], level: NoiseLevel, graph: Graph
    ) -> Float[Tensor, "*shape S"]:
        """Convert logits to log-scores [..., S], in float32 or float64; the entry at y = x is arbitrary.

        Args:
            logits: Logits [..., S].
            x: Current states [...].
            level: Noise level, with the leading axes of x.
            graph: The forward process.
        """

    def log_mean(
        self, logits: Float[Tensor, "*shape S"], x: Int64[Tensor, "*shape"], level: NoiseLevel, graph: Graph
    ) -> Float[Tensor, "*shape V"]:
        """Convert logits to log-probabilities log p(x0_i | all other positions) [..., V] of the clean tokens.

        Derived from `log_score`, unless overridden. Args: as in `log_score`.
        """
        log_score = self.log_score(logits, x, level, graph).scatter(-1, x[..., None], 0.0)
        return graph.mean_from_score(row_scores(log_score, x), x, level).log()
