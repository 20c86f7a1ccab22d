"""Saving and loading the state of a trainer, whole or divided over processes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import checkpoints
from ..files import TEMPORARY
from ..record.record import Record
from ..text.codec import Codec
from .moments import read_state, without_divided, write_moments
from .trainer import Trainer


def save(
    trainer: Trainer, folder: Path, codec: Codec, record: Record, state: dict[str, Any], further: dict[str, Tensor]
) -> None:
    """Save a checkpoint. All processes call it, and all raise if one fails.

    Args:
        trainer: Trainer to save.
        folder: Checkpoint folder to write.
        codec: Tokenizer.
        record: Record of the run.
        state: What the checkpoint has besides the trainer's state.
        further: Further tensors to write, divided as the parameters are; empty but in a rehearsal.

    Raises:
        UserError: The folder cannot be written.
    """
    world, content = trainer.world, trainer.state()
    content["optimizer"], moments = without_divided(content["optimizer"])
    state = {**state, "trainer": content}
    divided = folder.with_name(f"{folder.name}.{checkpoints.MOMENTS}{TEMPORARY}") if trainer.parallel.sharded else None
    if divided is None:
        state |= further
    else:
        _write_divided(trainer, divided, moments | further)
    try:
        with trainer.parallel.whole(trainer.ema) as (model, average):
            parts = (model, trainer.noise, average, codec, record, state, divided)
            world.agree(lambda: checkpoints.save(folder, *parts) if world.main else None)
    finally:
        if divided is not None and world.main:
            shutil.rmtree(divided, ignore_errors=True)


def _write_divided(trainer: Trainer, folder: Path, moments: dict[str, Tensor]) -> None:
    """Write divided tensors. UserError in all processes if one fails."""
    failure: OSError | None = None
    try:
        write_moments(folder, moments, trainer.world)
    except OSError as error:
        failure = error

    def outcome() -> None:
        if failure is not None:
            raise checkpoints.write_error(folder, failure) from failure

    trainer.world.agree(outcome)


def load(trainer: Trainer, folder: Path, state: Any) -> None:
    """Continue a trainer from the state in a checkpoint. All processes call it.

    Args:
        trainer: Trainer that has the weights and averages of the checkpoint.
        folder: Checkpoint folder, written by any number of processes.
        state: The trainer's part of trainer.pt.

    Raises:
        Exception: The state is of another optimizer, or damaged; see `Trainer.load`.
    """
    parameters = [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]
    optimizer = read_state(state["optimizer"], parameters, folder / checkpoints.MOMENTS, trainer.world)
    trainer.load({**state, "optimizer": optimizer})
