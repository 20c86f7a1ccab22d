"""Estimate of a training run's memory per GPU."""

from __future__ import annotations

import torch

from ..build.build import bind
from ..distributed.world import gpu_count
from ..maths.numerics import runs_in_bf16
from ..model import memory
from ..training.batches import accumulation
from .contracts import inspection_graph
from .parts import TrainingParts


def describe(run: TrainingParts, vocab_size: int) -> str:
    """Describe the memory of training per GPU, in GiB.

    Args:
        run: Parts of a training run.
        vocab_size: Number of tokens of the vocabulary.
    """
    try:
        estimate = _estimate(run, vocab_size)
    except Exception as error:  # the network reads values of its tensors, or requires a condition
        return f"memory   unknown before the run: the network does not run without data ({type(error).__name__})"
    return f"memory   {estimate.describe(_sequences(run))}; on each GPU, with every position in the loss"


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
        estimate = _estimate(run, vocab_size)
    except Exception:  # as in describe; the rehearsal measures it
        return
    memory.check(estimate, _sequences(run), available)


def _estimate(run: TrainingParts, vocab_size: int) -> memory.Estimate:
    graph = inspection_graph(run.graph, vocab_size)
    return memory.estimate(
        lambda: bind(run.model, "model", num_states=graph.num_states)[0],
        graph,
        run.head,
        run.data.length,
        bf16=_in_bf16(run.training.precision),
        processes=run.started_processes(),
        sharded=run.training.shards(run.started_processes()),
    )


def _in_bf16(precision: str) -> bool:
    """Whether the run's network will run in bfloat16; without a GPU here, the plan is for one that computes in it."""
    return runs_in_bf16(precision, torch.device("cuda", 0)) if gpu_count() else precision != "fp32"


def _sequences(run: TrainingParts) -> int:
    """Number of sequences per forward pass and process."""
    return run.training.batch_size // (run.started_processes() * accumulation(run.training, run.started_processes()))
