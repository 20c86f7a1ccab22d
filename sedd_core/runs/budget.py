"""Whether a training run fits the memory of its GPUs."""

from __future__ import annotations

from ..build.build import bind
from ..model import memory
from ..training.batches import accumulation
from .contracts import look_at
from .parts import TrainingParts


def describe(run: TrainingParts, vocab_size: int) -> str:
    """The memory that training takes on each GPU, in GiB."""
    try:
        estimate = _estimate(run, vocab_size)
    except Exception as error:  # of a network that looks at the content of its tensors, or insists on a condition
        return f"memory   not known before the run: the network cannot be tried without data ({type(error).__name__})"
    return f"memory   {estimate.describe(_sequences(run))}; on each GPU, with every position in the loss"


def check(run: TrainingParts, vocab_size: int) -> None:
    """Check that training fits the GPUs that this process sees.

    Raises:
        UserError: They are too small.
    """
    available = memory.device_memory()
    if available is None:
        return
    try:
        estimate = _estimate(run, vocab_size)
    except Exception:  # as above: the rehearsal shows what it takes
        return
    memory.check(estimate, _sequences(run), available)


def _estimate(run: TrainingParts, vocab_size: int) -> memory.Estimate:
    graph = look_at(run.graph, vocab_size)
    return memory.estimate(
        lambda: bind(run.model, "model", num_states=graph.num_states)[0],
        graph,
        run.score,
        run.data.length,
        bf16=run.training.precision != "fp32",
        processes=run.started_processes(),
    )


def _sequences(run: TrainingParts) -> int:
    """Sequences of one pass of a process."""
    return run.training.batch_size // (run.started_processes() * accumulation(run.training, run.started_processes()))
