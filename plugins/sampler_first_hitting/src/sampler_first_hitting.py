"""The first-hitting sampler: masks are removed one by one, at the times at which the exact process removes them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.evaluation import masks_only
from sedd_core.maths import Draws, categorical, row_chunks, row_scores
from sedd_core.stages import Graph, NoiseLevel, Sampler, ScoreFunction


class FirstHitting(Sampler):
    """Exact simulation of masked diffusion: a mask at noise lambda = 1 - exp(-sigma) is removed at lambda u, u uniform.

    Within a step, the positions whose times lie in it are unmasked in that order, each by the scores at its time. With
    `sites` 1 the samples have the model's distribution exactly, whatever the number of steps.

    Args:
        sites: Number of positions unmasked per network call; above 1, tokens of one call are drawn independently.

    Raises:
        ValueError: sites is below 1.

    Source: Zheng et al., Masked Diffusion Models are Secretly Time-Agnostic Masked Models (arXiv 2409.02908),
        section 4, whose next time lambda u^(1/m) among m masks is the largest of m such times.
    """

    calls = "length / sites in all"
    graphs = "absorb"
    marginal = "followed exactly with one site per call"

    def __init__(self, *, sites: int = 1) -> None:
        super().__init__()
        if sites < 1:
            raise ValueError(f"sites must be at least 1, not {sites}")
        self.sites = sites

    def incompatibility(self, graph: Graph) -> str | None:
        """It needs a process that masks tokens and does nothing else."""
        return None if masks_only(graph) else "first hitting times are known for processes that only mask tokens"

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
        """Unmask the positions whose times lie in the step, `sites` per network call; levels [B]."""
        level, level_next = level.at(x[:, 0]), level_next.at(x[:, 0])
        start, end = (-torch.expm1(-now.sigma)[:, None] for now in (level, level_next))
        hit = start * draws.uniform("hit", x.shape[1])
        pending = graph.reachable(x, level) & (hit > end)
        order = hit.masked_fill(~pending, -1.0).argsort(-1, descending=True)
        uniform = draws.uniform("target", x.shape[1])
        for first in range(0, int(pending.sum(-1).max()), self.sites):
            now = torch.zeros_like(pending).scatter(-1, order[:, first : first + self.sites], True) & pending
            share = torch.where(now, hit, end).amax(-1)  # of the first of them; sequences without any are not asked
            x = _unmask(x, now, level.between(level_next, -torch.log1p(-share)), score_fn, uniform)
            self.stats.calls += 1
        return x


def _unmask(
    x: Int64[Tensor, "B L"],
    positions: Bool[Tensor, "B L"],
    level: NoiseLevel,
    score_fn: ScoreFunction,
    uniform: Float64[Tensor, "B L"],
) -> Int64[Tensor, "B L"]:
    """Draw tokens at masked positions in proportion to their scores."""
    current, log_score = x[positions], score_fn(x, level, positions)
    tokens, numbers = current.clone(), uniform[positions]
    for part in row_chunks(len(log_score), log_score.shape[-1], log_score.device):
        weights = row_scores(log_score[part], current[part]).scatter(-1, current[part][:, None], 0.0)
        tokens[part] = categorical(weights, numbers[part])
    return x.masked_scatter(positions, tokens)


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return FirstHitting
