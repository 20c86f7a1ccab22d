"""A step of a sampler: its noise levels, and the weights of the states that it may lead to."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Float64
from torch import Tensor

from .noise import NoiseLevel


class Step(NamedTuple):
    """The noise levels [N] before and after a step of a sampler."""

    level: NoiseLevel
    level_next: NoiseLevel


class StepWeights(NamedTuple):
    """An unnormalized distribution: `values` >= 0 [..., S], which sum to `total` [...] without clipping."""

    values: Float[Tensor, "*shape S"]
    total: Float64[Tensor, "*shape"]
