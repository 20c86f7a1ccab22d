"""Sampling by the analytic sampler, from the prior to clean tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from sedd_core import plugin
from sedd_core.sampling.sample import sample

from ..naive import draw
from ..naive.sampling import T_MIN
from ..pairs import GRAPHS, pair, transformer
from ..timing import Measurement, compared, interleaved, summary


@dataclass(frozen=True)
class Sizes:
    """Sizes of the case."""

    batch: int = 1
    """Sequences drawn at once."""
    length: int = 256
    """Tokens per sequence."""
    steps: int = 16
    """Sampling steps, before the one that denoises."""
    width: int = 256
    """Width of the features."""
    blocks: int = 4
    """Transformer blocks."""
    vocab: int = 50257
    """Vocabulary size."""
    rounds: int = 3
    """Timed rounds."""


SIZES = {
    "full": Sizes(),
    "quick": Sizes(length=64, batch=1),
    "tiny": Sizes(batch=2, length=8, steps=2, width=16, blocks=1, vocab=50, rounds=2),
    "cuda": Sizes(batch=8, length=1024, steps=64, width=768, blocks=12, rounds=5),
}


def measure(sizes: Sizes, device: torch.device) -> list[Measurement]:
    """Ratios, seconds and network calls per second of both graphs, in fp32.

    Args:
        sizes: Sizes of the case.
        device: Device to measure on.
    """
    return [measurement for graph in GRAPHS for measurement in _variant(graph, sizes, device)]


def _variant(graph: str, sizes: Sizes, device: torch.device) -> list[Measurement]:
    both = pair(graph, sizes.vocab, transformer(graph, sizes.vocab, sizes.width, sizes.blocks), device)
    model, sampler, batch = both.model.eval(), plugin("sampler_analytic")(), sizes.batch
    ours = partial(sample, model, both.noise, sampler, count=batch, batch_size=batch, t_min=T_MIN, seed=0)
    naive = partial(draw, both.naive, both.naive_graph, both.naive_noise, batch=batch, device=device)
    contenders = {
        "naive": partial(naive, length=sizes.length, steps=sizes.steps),
        "ours": partial(ours, length=sizes.length, steps=sizes.steps),
    }
    seconds = interleaved(contenders, sizes.rounds, device)
    calls = [(sizes.steps + 1) / value for value in seconds["ours"]]
    return [*compared(graph, seconds, {"naive": "ours"}), summary(graph, "network calls, ours", "per second", calls)]
