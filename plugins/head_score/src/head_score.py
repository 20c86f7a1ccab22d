"""The head of SEDD: the logits are log-scores, relative to a typical log-score at the noise level."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import Graph, Head, NoiseLevel


class ScoreHead(Head):
    """Logits as log-scores.

    With the offset, the network learns only the difference from a typical log-score, which is
    - log expm1(sigma) - log V for absorb.

    Args:
        scale_by_sigma: Whether the graph's `score_offset`, a typical log-score at the noise level, is added to the
            logits.

    Source: SEDD, appendix C.2.
    """

    def __init__(self, *, scale_by_sigma: bool = True) -> None:
        self.scale_by_sigma = scale_by_sigma

    def warning(self, graph: Graph) -> str | None:
        """A reason against scaling where scores of clean and of replaced tokens differ in scale: without a mask."""
        if not self.scale_by_sigma or graph.mask is not None:
            return None
        return (
            "head.scale_by_sigma=true suits graphs with a mask; on this graph training starts from a much higher "
            "loss and learns less. As published: head.scale_by_sigma=false"
        )

    def offset(self, x: Int64[Tensor, "*shape"], level: NoiseLevel, graph: Graph) -> Float64[Tensor, "*shape"]:
        """The graph's `score_offset` if the head is scaled, else 0."""
        return graph.score_offset(x, level) if self.scale_by_sigma else torch.zeros_like(x, dtype=torch.float64)

    def log_score(
        self, logits: Float[Tensor, "*shape S"], x: Int64[Tensor, "*shape"], level: NoiseLevel, graph: Graph
    ) -> Float[Tensor, "*shape S"]:
        """The logits plus the offset."""
        # In float32 before the offset is added, which bf16 would round.
        log_score = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return log_score + self.offset(x, level, graph)[..., None].to(log_score.dtype)


@hookimpl
def sedd_head() -> type[Head]:
    """The class of this plugin."""
    return ScoreHead
