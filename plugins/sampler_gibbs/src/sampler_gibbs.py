"""Analytic steps, each followed by a Gibbs corrector: random positions are drawn anew, given all others."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.maths import Draws, categorical, row_scores
from sedd_core.stages import FactorizedSampler, Graph, NoiseLevel, Sampler, ScoreFunction, Step, StepWeights


class Gibbs(Sampler):
    """Analytic steps; after each, `corrections` times, `sites` random positions i are drawn from p_s(x_i | x_-i).

    That is s_y / sum_y s_y of their scores: with a mask those at the masked position, which any graph with a mask can
    have entered. A correction of one site keeps p_s exactly, at a random position; the choice of a position by its
    scores would not.

    Args:
        corrections: Corrections per step, of one network call each.
        sites: Positions per correction; above 1 they are drawn independently, which changes the distribution.

    Raises:
        ValueError: corrections or sites is below 1.

    Source: Campbell et al. (arXiv 2205.14987), section 4.4 (correctors); Gibbs sampling: Geman and Geman (1984).
    """

    order = None
    calls = "1 + corrections per step"
    marginal = "followed; a correction of one site keeps it exactly"

    def __init__(self, *, corrections: int = 1, sites: int = 1) -> None:
        super().__init__()
        if corrections < 1 or sites < 1:
            raise ValueError(f"corrections and sites must be at least 1, not {corrections} and {sites}")
        self.corrections, self.sites, self.predictor = corrections, sites, _Analytic()

    def step(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        level_next: NoiseLevel,
        score_fn: ScoreFunction,
        graph: Graph,
        draws: Draws,
        state: Any = None,
    ) -> Int64[Tensor, "B L"]:
        """One analytic step, and the corrections at its end."""
        self.predictor.stats = self.stats
        x = self.predictor.step(x, level, level_next, score_fn, graph, draws.part("predictor"))
        for index in range(self.corrections):
            x = self.correct(x, level_next, score_fn, graph, draws.part(f"correction {index}"))
        return x

    def correct(
        self, x: Int64[Tensor, "B L"], level: NoiseLevel, score_fn: ScoreFunction, graph: Graph, draws: Draws
    ) -> Int64[Tensor, "B L"]:
        """Draw random positions anew. Args: see `step`."""
        length = x.shape[1]
        chosen = draws.uniform("site", length).topk(min(self.sites, length)).indices
        sites = torch.zeros_like(x, dtype=torch.bool).scatter(-1, chosen, True)
        weights = self.conditional_weights(x, sites, level, score_fn, graph)
        self.stats.calls += 1
        return x.masked_scatter(sites, categorical(weights, draws.uniform("state", length)[sites]))

    def conditional_weights(
        self,
        x: Int64[Tensor, "B L"],
        sites: Bool[Tensor, "B L"],
        level: NoiseLevel,
        score_fn: ScoreFunction,
        graph: Graph,
    ) -> Float[Tensor, "N S"]:
        """Weights of all states at the N sites given all other positions; of several sites, as if all were unknown."""
        unknown = x if graph.mask is None else x.masked_fill(sites, graph.mask)
        return row_scores(score_fn(unknown, level, sites), unknown[sites])


class _Analytic(FactorizedSampler):
    def step_weights(self, x: Int[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph) -> StepWeights:
        return graph.posterior_weights(x, score, *step)


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return Gibbs
