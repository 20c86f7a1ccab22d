"""A step of a sampler: its noise levels, and the weights of the states that it may lead to."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .noise import NoiseLevel


class Step(NamedTuple):
    """The noise levels [N] before and after a step of a sampler."""

    level: NoiseLevel
    level_next: NoiseLevel

    def pick(self, index: Any) -> Step:
        """The levels at an index or slice."""
        return Step(self.level.pick(index), self.level_next.pick(index))


class StepWeights(NamedTuple):
    """An unnormalized distribution: `values` >= 0 [..., S], which sum to `total` [...] without clipping."""

    values: Float[Tensor, "*shape S"]
    total: Float64[Tensor, "*shape"]


class EventWeights(NamedTuple):
    """What decides whether a position moves: weights of staying and of leaving, which sum to `total` unclipped."""

    stay: Float64[Tensor, "*shape"]
    leave: Float64[Tensor, "*shape"]
    total: Float64[Tensor, "*shape"]


def split_weights(weights: StepWeights, x: Int64[Tensor, " N"]) -> EventWeights:
    """The weights of staying in states x and of leaving them."""
    stay = weights.values.gather(-1, x[:, None])
    leave = weights.values.scatter(-1, x[:, None], 0.0).sum(-1)  # next to `stay`, small weights would be lost
    return EventWeights(stay[:, 0].double(), leave.double(), weights.total)
