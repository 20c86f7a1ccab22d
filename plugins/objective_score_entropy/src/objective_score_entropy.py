"""Denoising score entropy, by default weighted to be the integrand of the likelihood bound."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import Batch, DenoisingObjective, Graph, InterpolatingGraph, NoiseLevel, ScoreNetwork

Weight = Literal["elbo", "uniform", "clipped", "dynamic"]
LARGEST = 2.0
"""Largest clipped or dynamic weight."""


class ScoreEntropy(DenoisingObjective):
    """Denoising score entropy at the noised positions, which is a weight times a divergence d of each position.

    With q the distribution of the position given its clean token, q^ that given the network's mean, and R their ratio
    at the current state: d = KL(q || q^) + R - 1 - log R. On absorb d is alpha times the cross-entropy of the mean.

    Args:
        weight: Weights of the positions. elbo: those of the likelihood bound, rate rho_x / q_x, which SEDD, MDLM, UDLM
            and Duo have. uniform: 1. clipped: those of elbo, at most 2. dynamic: GIDD's, 2 at a mask, 1 at another
            wrong token, and the relative weight of a right one.

    Source: Lou et al., Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution (arXiv
        2310.16834), theorem 3.6; weights: von Rütte et al., Generalized Interpolating Discrete Diffusion (arXiv
        2503.04482), section 4.3, and the function of their code.
    """

    leaves_out: str = "its prior and reconstruction terms, at the ends of the noise"

    def __init__(self, *, weight: Weight = "elbo") -> None:
        self.weight: Weight = weight
        if weight != "elbo":
            self.leaves_out = f"its weights, in place of which are {weight} ones"

    def bound_factor(self, t_min: float) -> float | None:
        """The mean over t in (t_min, 1) is the integral divided by its length; other weights are not the bound's."""
        return 1 / (1 - t_min) if self.weight == "elbo" else None

    def incompatibility(self, graph: Graph) -> str | None:
        """All weights but the bound's are defined for interpolating graphs; the dynamic ones need a mask."""
        if self.weight != "elbo" and not isinstance(graph, InterpolatingGraph):
            return f"the weight {self.weight} is defined for graphs that interpolate between the data and a mixture"
        if self.weight == "dynamic" and graph.mask is None:
            return "the weight dynamic is relative to that of a mask, which the graph does not have"
        return None

    def integrand(
        self, model: ScoreNetwork, x: Int64[Tensor, "B L"], level: NoiseLevel, batch: Batch
    ) -> Float64[Tensor, " B"]:
        """The weighted sum of `Graph.score_entropy` over the positions where it is not constantly zero."""
        positions = model.graph.reachable(x, level)
        positions = positions if batch.loss_mask is None else positions & batch.loss_mask
        weight = level.rate
        if self.weight != "elbo" and isinstance(model.graph, InterpolatingGraph):
            weight = entropy_weights(self.weight, model.graph, x, batch.tokens, level)
        return model.score_entropy(x, batch.tokens, level, positions, batch.cond, batch.documents, weight)


def entropy_weights(
    weight: Weight,
    graph: InterpolatingGraph,
    x: Int64[Tensor, "*shape"],
    x0: Int64[Tensor, "*shape"],
    level: NoiseLevel,
) -> Float64[Tensor, "*shape"]:
    """What the score entropy of a position, which is rho_x / q_x times d, is multiplied with for a weight of d [...].

    Args:
        weight: Name of the weight.
        graph: Forward process.
        x: Noised states [...].
        x0: Clean tokens [...].
        level: Noise level, with the leading axes of x.
    """
    level = level.at(x)
    rho_x, pi_x = graph.entries(x, level, level), graph.entries(x, level)
    alpha, beta = torch.exp(-level.sigma.double()), -torch.expm1(-level.sigma.double())
    reachable, right = rho_x > 0, x == x0
    of_entropy = torch.where(reachable, alpha * right + beta * pi_x, 0.0) / torch.where(reachable, rho_x, 1.0)
    if weight == "elbo":
        return level.rate * reachable
    if weight == "clipped":
        return torch.minimum(level.rate * reachable, LARGEST * of_entropy)
    if weight == "uniform":
        return of_entropy
    # GIDD's code: (b / S) exp(sigmoid(-t) / 2) at a right token, where with its process t is the share of masks among
    # masked and unchanged tokens, and b / V = r / sqrt(m) with r, m the odds of being replaced by this token, the mask.
    masked = beta * graph.entries(torch.full_like(x, graph.mask or 0), level) / alpha
    share = graph.vocab_size / graph.num_states * beta * pi_x / alpha / masked.sqrt()
    of_right = share * torch.exp(torch.sigmoid(-masked / (1 + masked)) / 2)
    chosen = torch.where(x == graph.mask, LARGEST, torch.where(right, of_right, 1.0)).clamp(max=LARGEST)
    return chosen * of_entropy


@hookimpl
def sedd_objective() -> type[ScoreEntropy]:
    """The class of the objective `objective_score_entropy`."""
    return ScoreEntropy
