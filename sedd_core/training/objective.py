"""The training loss."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from ..maths.numerics import expand_to
from ..model.score import ScoreModel
from ..stages.noise import NoiseLevel


class ScoreEntropy(nn.Module):
    """Diffusion-weighted denoising score entropy (SEDD, theorem 3.6): with weight = dsigma/dt, the integral
    of the likelihood bound, without its ends.

    The module that is trained: its `forward` is the whole computation that needs gradients.
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
        """Mean over the batch, and per sequence, of the sum over positions of weight * score entropy, in nats.

        loss_mask: the positions that belong to the loss (all, when None). The head runs only where the entropy is not
        constant zero; when that is nowhere, every parameter still gets a gradient, of zeros.
        """
        graph = self.model.graph
        positions = graph.reachable(x) if loss_mask is None else graph.reachable(x) & loss_mask
        log_score = self.model.raw(x, level.sigma, positions, cond)
        entropy = graph.score_entropy(log_score, expand_to(level.sigma, x)[positions], x[positions], x0[positions])
        positions = torch.zeros(x.shape, dtype=entropy.dtype, device=x.device).masked_scatter(positions, entropy)
        loss = (expand_to(weight, x) * positions).sum(-1)
        return loss.mean(), loss
