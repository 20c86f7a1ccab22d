"""A rehearsal before the first update: the largest pass and each infrequent task once, without lasting effects.

Errors that would occur at step 50,000 (memory, disk, incompatible parts) then occur immediately.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..console import say
from ..maths.rounding import Storage
from ..model.memory import GIB, explained
from . import saving
from .batches import draws_of
from .compact_adamw import CompactAdamW
from .evaluation import Evaluations
from .loop import Loop
from .trainer import Trainer

TRAINING = "training.microbatch (or raise training.accum) or data.length, or set training.precision=bf16"
"""Settings to lower if an update runs out of memory."""


def rehearse(loop: Loop, evaluations: Evaluations, step: int) -> None:
    """Try a training pass, the evaluations and a checkpoint; the state of the run is unchanged.

    Args:
        loop: Training loop of the run.
        evaluations: Evaluations during training.
        step: Number of updates already done.

    Raises:
        UserError: Memory or disk space does not suffice.
    """
    trainer, cuda = loop.trainer, loop.trainer.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(trainer.device)
    with torch.random.fork_rng(devices=[trainer.device] if cuda else []), update_memory(trainer) as moments:
        _try_pass(trainer, step)
        trainer.model.eval()
        with trainer.averaged():
            trainer.world.agree(lambda: [evaluation.rehearse() for evaluation in evaluations])
        trainer.model.train()
        _save(loop, step, moments)
    peak = ""
    if cuda:
        peak = f": peak memory {torch.cuda.max_memory_allocated(trainer.device) / GIB:.2f} GiB"
        torch.cuda.reset_peak_memory_stats(trainer.device)
    loop.meter.since = time.monotonic()
    say(
        f"rehearsal  one microbatch of {len(trainer.microbatches[0])} sequences, one validation batch, one sampling "
        f"step, one checkpoint{peak}"
    )


def _try_pass(trainer: Trainer, step: int) -> None:
    """Run a full pass in all processes; a failure in one ends all.

    The processes of a divided network wait for each other inside the pass: there, one that fails ends by itself, and
    the launcher ends the others.
    """

    @explained("training", TRAINING)
    def work() -> None:
        full_pass(trainer, step)

    return work() if trainer.parallel.sharded else trainer.world.agree(work)


@contextmanager
def update_memory(trainer: Trainer) -> Iterator[list[Tensor]]:
    """Within: memory is used as during an update, by AdamW's moments and the gradients of earlier microbatches.

    Yields:
        Placeholders for the moments; none if the optimizer has moments already, or is not AdamW.
    """
    moments = []
    if isinstance(trainer.optimizer, torch.optim.AdamW) and not trainer.optimizer.state:
        storage = trainer.optimizer.storage if isinstance(trainer.optimizer, CompactAdamW) else Storage()
        moments = [storage.put(torch.zeros_like(parameter)) for parameter in trainer.parameters for _ in range(2)]
    if len(trainer.microbatches) > 1:
        for parameter in trainer.parameters:
            parameter.grad = torch.zeros_like(parameter)
    try:
        yield moments
    finally:
        trainer.optimizer.zero_grad()


def full_pass(trainer: Trainer, step: int) -> None:
    """Run one microbatch forward and backward with nearly every position in the loss: t = 1, no padding."""
    indices = trainer.microbatches[0]
    batch = trainer.batch(step, indices).to(trainer.device)._replace(loss_mask=None)
    draws = draws_of(trainer.training, trainer.seed, indices.to(trainer.device), step)
    with trainer.unsynchronized():
        loss, _ = trainer.forward(batch, draws, t_min=1.0)
        loss.backward()
    trainer.optimizer.zero_grad()  # free the gradients, as in a run


def _save(loop: Loop, step: int, moments: list[Tensor]) -> None:
    """Write a full-size checkpoint to a temporary folder in the run folder, and remove it."""
    trainer, workspace = loop.trainer, loop.context.workspace
    aside = workspace.folder / "rehearsal.tmp"
    state = {"step": step, "meter": loop.meter.state()}
    further = {f"moments {index}": tensor for index, tensor in enumerate(moments)}
    loop.context.on_main(lambda: shutil.rmtree(aside, ignore_errors=True))  # left by a killed run
    try:
        saving.save(trainer, aside / "checkpoint", loop.codec, workspace.record, state, further)
    finally:
        if loop.main:
            shutil.rmtree(aside, ignore_errors=True)
