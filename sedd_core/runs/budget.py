"""Plan of a training run: its memory per GPU, its operations, and its time on GPUs that are named."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ..build.build import bind
from ..distributed.world import gpu_count
from ..maths.numerics import runs_in_bf16
from ..model import memory
from ..model.operations import share_in_loss, training_operations
from ..stages import NoiseLevel
from ..training.batches import accumulation
from ..training.cards import CARDS, Card
from .contracts import inspection_graph, is_on_meta
from .parts import TrainingParts

UTILIZATION = 0.4
"""Share of a card's peak that the plan assumes: an assumption, which a run's `flop_utilization` replaces."""
COUNTS = (1, 8)
"""Numbers of cards for which the plan has speeds."""


@dataclass(frozen=True)
class Cost:
    """Operations of a run."""

    per_token: float
    """Operations per token of training."""
    tokens: int
    """Tokens of training."""

    def speed(self, card: Card, count: int) -> float:
        """Tokens per second on a number of cards, at UTILIZATION."""
        return UTILIZATION * card.flops * count / self.per_token

    def days(self, card: Card, count: int) -> float:
        """Days of training on a number of cards, at UTILIZATION."""
        return self.tokens / self.speed(card, count) / 86400


def describe(run: TrainingParts, vocab_size: int) -> str:
    """Describe the memory of training per GPU in GiB, its operations, and its time on the cards of `CARDS`.

    Args:
        run: Parts of a training run.
        vocab_size: Number of tokens of the vocabulary.
    """
    in_bf16 = _in_bf16(run.training.precision)
    try:
        found = estimate(run, vocab_size)
        plan = _plan(found, cost(run, vocab_size)) if in_bf16 else []  # the peaks of cards are those of bf16
    except Exception as error:  # the network reads values of its tensors, or requires a condition
        return f"memory   unknown before the run: the network does not run without data ({type(error).__name__})"
    known = f"memory   {found.describe(sequences(run))}; on each GPU, with every position in the loss"
    return "\n".join([known, *plan])


def _plan(found: memory.Estimate, cost: Cost) -> list[str]:
    lines = [
        f"plan     {cost.per_token / 1e9:.2g} GFLOP per token, {cost.per_token * cost.tokens:.2g} FLOP in total; "
        f"assuming {UTILIZATION:.0%} of a card's bf16 peak:"
    ]
    for name, card in CARDS.items():
        speeds = (
            f"{n} {name}: {cost.speed(card, n) / 1e3:,.0f}k tokens/s, {cost.days(card, n):.1f} days" for n in COUNTS
        )
        fits = found.max_sequences(int(card.gib * memory.GIB))
        lines.append(f"         {'; '.join(speeds)}; at most {fits} sequences per pass")
    return lines


def cost(run: TrainingParts, vocab_size: int) -> Cost:
    """Count the operations of a run, with the head where the loss looks.

    Args:
        run: Parts of a training run.
        vocab_size: Number of tokens of the vocabulary.

    Raises:
        Exception: The network reads the values of its tensors; the type depends on the network.
    """
    graph = inspection_graph(run.graph, vocab_size)
    share = 1.0 if is_on_meta(graph) else share_in_loss(graph, run.noise, torch.device("cpu"))
    with FakeTensorMode():
        network = bind(run.model, "model", num_states=graph.num_states)[0]
        x = torch.zeros(1, run.data.length, dtype=torch.int64)
        level = NoiseLevel.of_sigma(torch.ones(1, dtype=torch.float64)).to(torch.float32)
        operations = training_operations(network, x, level, None, share)
    return Cost(operations, run.training.steps * run.training.batch_size * run.data.length)


def check(run: TrainingParts, vocab_size: int) -> None:
    """Check that training fits the GPUs visible to this process.

    Args:
        run: Parts of a training run.
        vocab_size: Number of tokens of the vocabulary.

    Raises:
        UserError: The memory of a GPU is too small.
    """
    available = memory.device_memory()
    if available is None:
        return
    try:
        found = estimate(run, vocab_size)
    except Exception:  # as in describe; the rehearsal measures it
        return
    memory.check(found, sequences(run), available)


def estimate(run: TrainingParts, vocab_size: int) -> memory.Estimate:
    """Estimate the memory of training per GPU.

    Args:
        run: Parts of a training run.
        vocab_size: Number of tokens of the vocabulary.

    Raises:
        Exception: See `memory.estimate`.
    """
    graph = inspection_graph(run.graph, vocab_size)
    return memory.estimate(
        lambda: bind(run.model, "model", num_states=graph.num_states)[0],
        graph,
        run.head,
        run.data.length,
        bf16=_in_bf16(run.training.precision),
        processes=run.started_processes(),
        sharded=run.training.shards(run.started_processes()),
        copies=memory.copies(run.optimizer.storage, run.training.ema_storage),
    )


def _in_bf16(precision: str) -> bool:
    """Whether the run's network will run in bfloat16; without a GPU here, the plan is for one that computes in it."""
    return runs_in_bf16(precision, torch.device("cuda", 0)) if gpu_count() else precision != "fp32"


def sequences(run: TrainingParts) -> int:
    """Number of sequences per forward pass and process."""
    return run.training.batch_size // (run.started_processes() * accumulation(run.training, run.started_processes()))
