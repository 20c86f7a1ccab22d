"""Denoising score entropy, weighted to be the integrand of the likelihood bound."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float64, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import Batch, DenoisingObjective, NoiseLevel, ScoreNetwork


class ScoreEntropy(DenoisingObjective):
    """Diffusion-weighted denoising score entropy: dsigma/dt times the score entropy at the noised positions.

    Source: Lou et al., Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution (arXiv
        2310.16834), theorem 3.6.
    """

    leaves_out: ClassVar[str] = "its prior and reconstruction terms, at the ends of the noise"

    def bound_factor(self, t_min: float) -> float:
        """The mean over t in (t_min, 1) is the integral divided by its length."""
        return 1 / (1 - t_min)

    def integrand(
        self, model: ScoreNetwork, x: Int64[Tensor, "B L"], level: NoiseLevel, batch: Batch
    ) -> Float64[Tensor, " B"]:
        """dsigma/dt times the sum of `Graph.score_entropy` over the positions where it is not constantly zero."""
        positions = model.graph.reachable(x, level)
        positions = positions if batch.loss_mask is None else positions & batch.loss_mask
        return model.score_entropy(x, batch.tokens, level, positions, batch.cond, batch.documents, level.rate)


@hookimpl
def sedd_objective() -> type[ScoreEntropy]:
    """The class of the objective `objective_score_entropy`."""
    return ScoreEntropy
