"""The uniform forward process: every token jumps to any other at the same rate."""

from __future__ import annotations

import torch

from sedd_core import hookimpl
from sedd_core.stages import Graph, InterpolatingGraph


class Uniform(InterpolatingGraph):
    """The uniform process: the limit distribution pi is 1/V at every token, without a mask (SEDD, equation 6).

    Args:
        vocab_size: Number V of data tokens, which are also the states.
    """

    def __init__(self, *, vocab_size: int) -> None:
        super().__init__(torch.ones(vocab_size, dtype=torch.float64) / vocab_size, vocab_size=vocab_size)


@hookimpl
def sedd_graph() -> type[Graph]:
    """The class of this plugin."""
    return Uniform
