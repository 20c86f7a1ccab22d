"""Whether a training run fits the memory of its GPUs: its settings, and what `memory` counts for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..build.build import bind
from ..distributed.rank import process_rank
from ..model import memory
from ..training.batches import accumulation
from .contracts import look_at

if TYPE_CHECKING:
    from .train import Train


def describe(run: Train, vocab_size: int) -> str:
    """What training takes on each GPU, in GiB."""
    try:
        estimate = _estimate(run, vocab_size)
    except Exception as error:  # of a network that looks at the content of its tensors, or insists on a condition
        return f"memory   not known before the run: the network cannot be tried without data ({type(error).__name__})"
    return f"memory   {estimate.describe(_sequences(run))}; on each GPU, with every position in the loss"


def check(run: Train, vocab_size: int) -> None:
    """UserError where the GPUs that this process sees are too small; nothing where there are none."""
    available = memory.device_memory()
    if available is None:
        return
    try:
        estimate = _estimate(run, vocab_size)
    except Exception:  # as above: the rehearsal shows what it takes
        return
    memory.check(estimate, _sequences(run), available)


def _estimate(run: Train, vocab_size: int) -> memory.Estimate:
    graph = look_at(run.graph, vocab_size)
    return memory.estimate(
        lambda: bind(run.model, "model", num_states=graph.num_states)[0],
        graph,
        run.score,
        run.data.length,
        bf16=run.training.precision != "fp32",
        processes=_processes(run),
    )


def _processes(run: Train) -> int:
    return max(process_rank()[1], run.processes())


def _sequences(run: Train) -> int:
    """Of one pass of a process."""
    return run.training.batch_size // (_processes(run) * accumulation(run.training, _processes(run)))
