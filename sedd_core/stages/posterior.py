"""The analytic step of an interpolating graph: weights of all states, or of staying and leaving alone."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .entropy import Mixture
from .noise import NoiseLevel
from .step import EventWeights, StepWeights


def posterior_weights(
    graph: Mixture,
    x: Int64[Tensor, "*shape"],
    score: Float[Tensor, "*shape S"],
    level: NoiseLevel,
    level_next: NoiseLevel,
) -> StepWeights:
    """See `InterpolatingGraph.posterior_weights`."""
    level, level_next = level.at(x), level_next.at(x)
    kept, replaced = _kept_and_replaced(level, level_next)
    move = replaced * graph.entries(x, level, level_next)
    own, total = score.gather(-1, x[..., None]), score.sum(-1).double()
    taken, pi = (replaced * total)[..., None].to(score.dtype), graph.mixture(level, level_next).to(score.dtype)
    values = torch.addcmul(score, taken, pi, value=-1).clamp_(min=0)
    stay = values.gather(-1, x[..., None]) * (kept + move)[..., None].to(score.dtype)
    values = values.mul_(move[..., None].to(score.dtype)).scatter_(-1, x[..., None], stay)
    return StepWeights(values, kept * own[..., 0].double())


def posterior_events(
    graph: Mixture,
    x: Int64[Tensor, "*shape"],
    own: Float64[Tensor, "*shape"],
    others: Float64[Tensor, "*shape"],
    level: NoiseLevel,
    level_next: NoiseLevel,
) -> EventWeights:
    """What `posterior_weights` weigh staying and leaving with, for a mixture of one state.

    Off that state nothing is subtracted from the scores, so none of them is clipped and their sum is enough; at other
    states x no weight leaves.

    Args: as in `Graph.posterior_events`.
    """
    level, level_next = level.at(x), level_next.at(x)
    kept, replaced = _kept_and_replaced(level, level_next)
    move = replaced * graph.entries(x, level, level_next)
    stay = (own * (1 - move) - move * others).clamp(min=0) * (kept + move)
    return EventWeights(stay, move * others, kept * own)


def _kept_and_replaced(
    level: NoiseLevel, since: NoiseLevel
) -> tuple[Float64[Tensor, "*shape"], Float64[Tensor, "*shape"]]:
    """Probabilities that a state is kept, and that it is replaced."""
    elapsed = level.elapsed(since)
    return torch.exp(-elapsed), -torch.expm1(-elapsed)
