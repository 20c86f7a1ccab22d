"""A rehearsal before the first update: the largest pass, and what comes seldom, once each, without a trace.

Whatever a run would fail of at step 50,000 (memory, disk, a part that does not fit another) it then fails of at once.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor

from .. import checkpoint
from ..bound import model_entropy, terms
from ..console import say
from ..draws import Draws
from ..memory import GIB, explained
from ..sampling import sample
from ..training import Trainer
from .loop import Loop
from .snapshot import SAMPLING, VALIDATION, Snapshots, characters

TRAINING = "training.microbatch (or raise training.accum) or data.length, or set training.precision=bf16"
"""What to lower where an update runs out of memory."""


def rehearse(loop: Loop, snapshots: Snapshots, step: int) -> None:
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
            _validate(snapshots)
            _sample(snapshots)
        trainer.objective.train()
        if loop.main:
            _save(loop, step, moments)
    peak = ""
    if cuda:
        peak = f": peak memory {torch.cuda.max_memory_allocated(trainer.device) / GIB:.2f} GiB"
        torch.cuda.reset_peak_memory_stats(trainer.device)
    loop.meter.since = time.monotonic()
    say(
        f"rehearsal  one microbatch of {len(trainer.parts[0])} sequences, one validation batch, one sampling step, "
        f"one checkpoint{peak}"
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
    if len(trainer.parts) > 1:
        for parameter in trainer.parameters:
            parameter.grad = torch.zeros_like(parameter)
    try:
        yield moments
    finally:
        trainer.optimizer.zero_grad()


def _pass(trainer: Trainer, step: int) -> None:
    """Forward and backward of one part with every position in the loss: as at t = 1, and without padding."""
    indices = trainer.parts[0]
    batch = trainer.data.batch(trainer.order.indices(step, trainer.training.batch_size)[indices]).to(trainer.device)
    x = trainer.objective.model.graph.prior(
        Draws(trainer.seed, indices.to(trainer.device), step), batch.tokens.shape[1]
    )
    level = trainer.noise(torch.ones(len(x), dtype=torch.float64, device=trainer.device))
    with trainer.unsynchronised():
        with torch.autocast(trainer.world.device.type, torch.bfloat16, enabled=trainer.bf16):
            loss, _ = trainer.wrapped(x, batch.tokens, level, level.rate, None, batch.cond)
        loss.backward()
    trainer.optimizer.zero_grad()  # else the gradients stay through what follows, as they do not in a run


@explained("validation", VALIDATION)
@torch.no_grad()
def _validate(snapshots: Snapshots) -> None:
    """A batch of each validation set: every term of the bound at one noise level, and the largest pass."""
    model, noise, world = snapshots.model, snapshots.noise, snapshots.workspace.world
    for sequences in snapshots.sets.values():
        which = sequences.spread(snapshots.validation.sequences)
        mine = which[world.share(len(which))][: snapshots.validation.batch_size]
        if not len(mine):
            continue
        batch, draws = sequences.batch(mine).to(world.device), Draws(snapshots.seed, mine.to(world.device))
        terms(model, noise, batch, draws, points=1, t_min=snapshots.training.t_min)
        characters(snapshots.codec, batch)
        x = model.graph.prior(draws, batch.tokens.shape[1])
        sigma = noise(torch.ones(len(x), dtype=torch.float64, device=world.device)).sigma
        model_entropy(model, x, batch.tokens, sigma, model.graph.active(x), batch.cond)


@explained("sampling", SAMPLING)
def _sample(snapshots: Snapshots) -> None:
    """One step and the last denoising of all samples, by a copy of the sampler: it counts what it does."""
    settings, world = snapshots.samples, snapshots.workspace.world
    mine = world.share(settings.count)
    tokens = sample(
        snapshots.model,
        snapshots.noise,
        deepcopy(snapshots.sampler),
        count=len(mine),
        which=mine,
        length=snapshots.length,
        steps=1,
        t_min=settings.t_min,
        seed=snapshots.seed,
        batch_size=max(settings.count, 1),
        given=snapshots.given(settings.count),
        cond=snapshots.conditions(settings.count),
    )
    for row in tokens.tolist():
        snapshots.codec.decode(row)


def _save(loop: Loop, step: int, moments: list[Tensor]) -> None:
    """Write a checkpoint of full size aside in the run's folder, and remove it."""
    trainer, workspace = loop.trainer, loop.workspace
    aside = workspace.folder / "rehearsal.tmp"
    state = {"step": step, "trainer": trainer.state(), "meter": loop.meter.state(), "moments": moments}
    shutil.rmtree(aside, ignore_errors=True)  # a kill leaves it
    try:
        parts = (trainer.objective.model, trainer.noise, trainer.ema, loop.codec, workspace.record)
        checkpoint.save(aside / "checkpoint", *parts, state)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
