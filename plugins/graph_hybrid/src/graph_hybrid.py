"""The hybrid forward process: a replaced token becomes the mask or any token, in constant proportions."""

from __future__ import annotations

import torch

from sedd_core import hookimpl
from sedd_core.stages import Graph, InterpolatingGraph


class Hybrid(InterpolatingGraph):
    """A constant mixture of masking and uniform noise: pi is p_uniform / V at every token, the rest at the mask.

    Args:
        vocab_size: Number V of data tokens; there are V + 1 states, of which the last is the mask.
        p_uniform: Probability, in (0, 1), that a replaced token becomes a data token rather than the mask.

    Raises:
        ValueError: p_uniform is out of range.

    Source: a mixture of the two matrices of SEDD, section 3.3.
    """

    def __init__(self, *, vocab_size: int, p_uniform: float = 0.1) -> None:
        if not 0 < p_uniform < 1:
            raise ValueError(f"p_uniform must lie between 0 and 1, not {p_uniform}: at 0 use graph=absorb")
        pi = torch.full((vocab_size + 1,), p_uniform / max(vocab_size, 1), dtype=torch.float64)
        pi[vocab_size] = 1 - p_uniform
        super().__init__(pi, vocab_size=vocab_size, mask=vocab_size)


@hookimpl
def sedd_graph() -> type[Graph]:
    """The class of this plugin."""
    return Hybrid
