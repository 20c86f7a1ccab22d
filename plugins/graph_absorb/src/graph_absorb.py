"""The absorbing forward process: tokens jump to the mask state and stay there."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.maths import log_expm1
from sedd_core.stages import Graph, InterpolatingGraph, NoiseLevel


class Absorb(InterpolatingGraph):
    """The absorbing process: the limit distribution pi is the mask, state V (SEDD, equation 6).

    Args:
        vocab_size: Number V of data tokens; there are V + 1 states.
    """

    def __init__(self, *, vocab_size: int) -> None:
        pi = torch.zeros(vocab_size + 1, dtype=torch.float64)
        pi[vocab_size] = 1.0
        super().__init__(pi, vocab_size=vocab_size, mask=vocab_size)

    def score_offset(self, x: Int64[Tensor, "*shape"], level: NoiseLevel) -> Float64[Tensor, "*shape"]:
        """The published offset - log expm1(sigma) - log V [...]; at tokens too, where scores are not used."""
        return -log_expm1(level.at(x).sigma.double()) - math.log(self.vocab_size)


@hookimpl
def sedd_graph() -> type[Graph]:
    """The class of this plugin."""
    return Absorb
