"""From a backbone's logits to log-scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn

from ..maths.numerics import expand_to, float64_device
from ..record.recordable import recordable
from ..stages.backbone import Backbone
from ..stages.graph import Graph
from ..stages.noise import Noise


@recordable
@dataclass(frozen=True, kw_only=True)
class ScoreHead:
    """How logits become log-scores."""

    scale_by_sigma: bool = True
    """Whether the graph's `score_offset`, a typical log-score at this noise level, is added to the logits."""

    def __call__(
        self,
        logits: Float[Tensor, "*shape S"],
        x: Int64[Tensor, "*shape"],
        sigma: Float[Tensor, "..."],
        graph: Graph,
    ) -> Float32[Tensor, "*shape S"] | Float[Tensor, "*shape S"]:
        """Log-scores in float32 or better; the entry at y = x is arbitrary (see `ScoreModel`).

        With the offset, the network needs to learn only what differs from a typical log-score: for absorb,
        - log expm1(sigma) - log V.

        Source: SEDD, appendix C.2.
        """
        log_score = logits.to(torch.promote_types(logits.dtype, torch.float32))  # before the offset: bf16 loses it
        if not self.scale_by_sigma:
            return log_score
        return log_score + graph.score_offset(x, sigma)[..., None].to(log_score.dtype)


class ScoreModel(nn.Module):
    """A backbone, read as the log-score of a graph: what samplers and evaluators call."""

    def __init__(self, backbone: Backbone, graph: Graph, head: ScoreHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.graph = graph
        self.head = head

    def forward(
        self,
        x: Int64[Tensor, "B L"],
        sigma: Float[Tensor, "..."],
        positions: Bool[Tensor, "B L"] | None = None,
        cond: Tensor | None = None,
    ) -> Float[Tensor, "... S"]:
        """log s(x, sigma): 0 at the current state; sigma [B] or [B, L].

        [B, L, S], or [N, S] at the N positions where `positions` is set.
        """
        everywhere = torch.ones_like(x, dtype=torch.bool)
        where = everywhere if positions is None else positions
        log_score = self.raw(x, sigma, where, cond).scatter(-1, x[where][..., None], 0.0)
        return log_score.view(*x.shape, -1) if positions is None else log_score

    def raw(
        self,
        x: Int64[Tensor, "B L"],
        sigma: Float[Tensor, "..."],
        positions: Bool[Tensor, "B L"],
        cond: Tensor | None = None,
    ) -> Float[Tensor, "N S"]:
        """The same at `positions`; the entry at the current state is arbitrary, since the loss does not use it."""
        there = next(self.backbone.parameters(), x).device  # another than x's where that has no float64
        features = self.backbone(x.to(there), sigma.float().to(there), None if cond is None else cond.to(there))
        logits = self.backbone.logits(features[positions.to(there)]).to(x.device)
        return self.head(logits, x[positions], expand_to(sigma, x)[positions], self.graph)


def move_to(device: torch.device | str, model: ScoreModel, noise: Noise) -> None:
    """Move a network to a device, in place; and its graph and noise schedule to that device's `float64_device`.

    Args:
        device: The network's device.
        model: The model; states and noise levels that it is called with belong on the `float64_device`.
        noise: The noise schedule.
    """
    model.backbone.to(device)
    model.graph.to(float64_device(device))
    noise.to(float64_device(device))
