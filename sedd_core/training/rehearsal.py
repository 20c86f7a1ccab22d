"""A rehearsal before the first update: the largest pass, and what comes seldom, once each, without a trace.

Whatever a run would fail of at step 50,000 (memory, disk, a part that does not fit another) it then fails of at once.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .. import checkpoints
from ..console import say
from ..maths.draws import Draws
from ..model.memory import GIB, explained
from .evaluation import Evaluators
from .loop import Loop
from .trainer import Trainer

TRAINING = "training.microbatch (or raise training.accum) or data.length, or set training.precision=bf16"
"""What to lower where an update runs out of memory."""


def rehearse(loop: Loop, evaluators: Evaluators, step: int) -> None:
    """Try an update's pass, validation, sampling and saving as they are after `step`; the run is left as it was.

    Raises:
        UserError: There is too little memory or room on the disk.
    """
    trainer, cuda = loop.trainer, loop.trainer.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(trainer.device)
    with torch.random.fork_rng(devices=[trainer.device] if cuda else []), _moments(trainer) as moments:
        with explained("training", TRAINING):
            _pass(trainer, step)
        trainer.objective.eval()
        with trainer.ema.in_place():
            for evaluator in evaluators:
                evaluator.rehearse()
        trainer.objective.train()
        if loop.main:
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


@contextmanager
def _moments(trainer: Trainer) -> Iterator[list[Tensor]]:
    """Within: memory as in the middle of an update: AdamW's moments and the gradients of earlier parts are there.

    Yields:
        Stand-ins for the moments; none where the optimizer has its own, or is another.
    """
    moments = []
    if isinstance(trainer.optimizer, torch.optim.AdamW) and not trainer.optimizer.state:
        moments = [torch.zeros_like(parameter) for parameter in trainer.parameters for _ in range(2)]
    if len(trainer.microbatches) > 1:
        for parameter in trainer.parameters:
            parameter.grad = torch.zeros_like(parameter)
    try:
        yield moments
    finally:
        trainer.optimizer.zero_grad()


def _pass(trainer: Trainer, step: int) -> None:
    """Forward and backward of one part with every position in the loss: as at t = 1, and without padding."""
    indices = trainer.microbatches[0]
    batch = trainer.data.batch(trainer.shuffled.indices(step, trainer.training.batch_size)[indices]).to(
        trainer.device
    )
    x = trainer.objective.model.graph.prior(
        Draws(trainer.seed, indices.to(trainer.device), step), batch.tokens.shape[1]
    )
    level = trainer.noise(torch.ones(len(x), dtype=torch.float64, device=trainer.device))
    with trainer.unsynchronized():
        with torch.autocast(trainer.world.device.type, torch.bfloat16, enabled=trainer.bf16):
            loss, _ = trainer.wrapped(x, batch.tokens, level, level.rate, None, batch.cond)
        loss.backward()
    trainer.optimizer.zero_grad()  # else the gradients stay through what follows, as they do not in a run


def _save(loop: Loop, step: int, moments: list[Tensor]) -> None:
    """Write a checkpoint of full size aside in the run's folder, and remove it."""
    trainer, workspace = loop.trainer, loop.context.workspace
    aside = workspace.folder / "rehearsal.tmp"
    state = {"step": step, "trainer": trainer.state(), "meter": loop.meter.state(), "moments": moments}
    shutil.rmtree(aside, ignore_errors=True)  # a kill leaves it
    try:
        parts = (trainer.objective.model, trainer.noise, trainer.ema, loop.codec, workspace.record)
        checkpoints.save(aside / "checkpoint", *parts, state)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
