"""The tau-leaping sampler: reverse rates held fixed for a step."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import FactorizedSampler, Graph, Sampler, Step, StepWeights


class TauLeaping(FactorizedSampler):
    """Tau-leaping: with Lambda_y = dt dsigma/dt Q_reverse(x -> y), a position jumps with probability
    1 - exp(-sum_y Lambda_y), to y in proportion to Lambda_y.

    Two jumps in one step are not simulated, and nothing is clipped.

    Source: Campbell et al., A Continuous Time Framework for Discrete Denoising Models (arXiv 2205.14987), section 4.3.
    """

    order = 1.0
    marginal = "followed at first order"

    def step_weights(self, x: Int[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph) -> StepWeights:
        """Lambda_y (1 - exp(-Lambda)) / Lambda for y != x; exp(-Lambda) for y = x."""
        dt = step.level.t - step.level_next.t
        rate = graph.reverse_rate(x, score, step.level).scatter(-1, x[:, None], 0.0)
        total = rate.sum(-1, dtype=torch.float64)
        own = score.gather(-1, x[:, None])[:, 0].double()  # 1, up to the factor of a row, which may underflow
        hazard = torch.where(total > 0, dt * step.level.rate * total / own, 0.0)
        jump = -torch.expm1(-hazard) / total.where(total > 0, 1.0)
        values = rate * jump[:, None].to(rate.dtype)
        stay = torch.exp(-hazard)[:, None].to(rate.dtype)
        return StepWeights(values.scatter(-1, x[:, None], stay), torch.ones_like(hazard))


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return TauLeaping
