"""A whole training step: trunk, head, loss, clipping, AdamW and average; and over the three products of its head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.data import PackedSequences
from sedd_core.training import Optimizer, Training
from sedd_core.training.trainer import Trainer

from ..naive import NaiveTrainer
from ..pairs import GRAPHS, BareProducts, pair, precisions, states_of, transformer
from ..timing import Measurement, compared, interleaved


@dataclass(frozen=True)
class Sizes:
    """Sizes of the case."""

    batch: int = 4
    """Sequences per step."""
    length: int = 256
    """Tokens per sequence."""
    width: int = 256
    """Width of the features."""
    blocks: int = 4
    """Transformer blocks."""
    vocab: int = 50257
    """Vocabulary size."""
    rounds: int = 9
    """Timed rounds of one step."""


SIZES = {
    "full": Sizes(),
    "quick": Sizes(rounds=3),
    "tiny": Sizes(batch=2, length=8, width=16, blocks=1, vocab=50, rounds=2),
    "cuda": Sizes(batch=32, length=1024, width=768, blocks=12, rounds=20),
}


def measure(sizes: Sizes, device: torch.device) -> list[Measurement]:
    """Ratios and seconds of both graphs in each precision.

    Args:
        sizes: Sizes of the case.
        device: Device to measure on.
    """
    return [
        measurement
        for graph in GRAPHS
        for precision in precisions(device)
        for measurement in _variant(graph, precision, sizes, device)
    ]


def _variant(graph: str, precision: str, sizes: Sizes, device: torch.device) -> list[Measurement]:
    tokens = torch.randint(sizes.vocab, (64 * sizes.batch, sizes.length))
    rows = sizes.batch * sizes.length // (2 if graph == "absorb" else 1)  # half are masks, on average over times
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    contenders = {
        "naive": naive_trainer(graph, precision, sizes, tokens, device).step,
        "ours": _steps(our_trainer(graph, precision, sizes, tokens, device)),
        "products": BareProducts(rows, sizes.width, states_of(graph, sizes.vocab), dtype, device),
    }
    seconds = interleaved(contenders, sizes.rounds, device)
    return compared(f"{graph} {precision}", seconds, {"naive": "ours", "ours": "products"})


def our_trainer(graph: str, precision: str, sizes: Sizes, tokens: Tensor, device: torch.device) -> Trainer:
    """Our trainer with published settings.

    Args:
        graph: "absorb" or "uniform".
        precision: "fp32" or "bf16".
        sizes: Sizes of the case.
        tokens: Training sequences [N, L].
        device: Device to train on.
    """
    both = pair(graph, sizes.vocab, transformer(graph, sizes.vocab, sizes.width, sizes.blocks), device)
    training = Training(steps=10**6, batch_size=sizes.batch, precision="bf16" if precision == "bf16" else "fp32")
    data = PackedSequences(tokens.flatten(), sizes.length)
    return Trainer(both.model, both.noise, plugin("objective_score_entropy")(), data, Optimizer(), training, seed=0)


def naive_trainer(graph: str, precision: str, sizes: Sizes, tokens: Tensor, device: torch.device) -> NaiveTrainer:
    """The naive trainer, from the same weights. Args: see `our_trainer`."""
    backbone = transformer(graph, sizes.vocab, sizes.width, sizes.blocks)
    both = pair(graph, sizes.vocab, backbone, device, bf16=precision == "bf16")
    return NaiveTrainer(both.naive, both.naive_graph, both.naive_noise, _batches(tokens, sizes.batch))


def _batches(tokens: Tensor, size: int) -> Iterator[Tensor]:
    while True:
        yield from tokens.split(size)


def _steps(trainer: Trainer):
    numbers = count()
    return lambda: trainer.step(next(numbers))
