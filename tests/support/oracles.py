"""Exact oracles of small problems: a graph, its noise schedule and a random joint distribution."""

from __future__ import annotations

from sedd_core import plugin
from sedd_core.testing import Oracle, random_joint

PAIRS = {"absorb": "loglinear", "uniform": "geometric"}


SAMPLERS = ["euler", "analytic"]


def oracle(graph: str, seed: int, *, noise: str | None = None, vocab: int = 4, length: int = 3) -> Oracle:
    process = plugin(f"graph_{graph}")(vocab_size=vocab)
    return Oracle(process, plugin(f"noise_{noise or PAIRS[graph]}")(), random_joint(vocab, length, seed))
