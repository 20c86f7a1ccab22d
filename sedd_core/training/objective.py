"""The training loss: the graph's score entropy, weighted by dsigma/dt (`InterpolatingGraph.score_entropy`)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from ..maths.numerics import expand_to
from ..model.score import ScoreModel
from ..stages.noise import NoiseLevel


class ScoreEntropy(nn.Module):
    """Diffusion-weighted denoising score entropy: with weight = dsigma/dt, the integral of the likelihood bound.

    The bound's terms at the ends (prior and reconstruction) are not included. This module is what is trained: its
    `forward` is the whole computation that needs gradients.

    Args:
        model: Score model to train.

    Source: Lou et al., Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution (arXiv
        2310.16834), theorem 3.6.
    """

    def __init__(self, model: ScoreModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        x: Int64[Tensor, "B L"],
        x0: Int64[Tensor, "B L"],
        level: NoiseLevel,
        weight: Float[Tensor, "..."],
        loss_mask: Bool[Tensor, "B L"] | None = None,
        cond: Tensor | None = None,
    ) -> tuple[Float64[Tensor, ""], Float64[Tensor, " B"]]:
        """Sum weight * score entropy over the positions of each sequence.

        The head runs only at positions whose entropy is not constantly zero; if there are none, every parameter still
        gets a gradient of zeros.

        Args:
            x: Noised states [B, L].
            x0: Clean tokens [B, L].
            level: Noise level of each sequence [B].
            weight: Weight of each sequence [B].
            loss_mask: Positions [B, L] in the loss; None: all.
            cond: Conditions [B, ...] for the network; None without.

        Returns:
            The mean over the batch, and the loss of each sequence [B], in nats.
        """
        graph = self.model.graph
        positions = graph.reachable(x, level)
        positions = positions if loss_mask is None else positions & loss_mask
        log_score = self.model.raw(x, level, positions, cond)
        entropy = graph.score_entropy(log_score, level.at(x, positions), x[positions], x0[positions])
        entropy = torch.zeros(x.shape, dtype=entropy.dtype, device=x.device).masked_scatter(positions, entropy)
        loss = (expand_to(weight, x) * entropy).sum(-1)
        return loss.mean(), loss
