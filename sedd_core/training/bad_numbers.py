"""Losses and gradients that are not finite: when they end a run, and from where it is to be continued."""

from __future__ import annotations

import torch
from safetensors.torch import save_file

from .. import checkpoints
from ..build.workspace import Workspace
from ..errors import UserError
from ..files import writing
from .trainer import StepResult, Trainer


def check_numbers(
    trainer: Trainer, workspace: Workspace, in_a_row: int, result: StepResult, step: int, updated_at: int
) -> None:
    """End the run after too many updates in a row that were not finite, or at its last step after any.

    This process's last batch is kept.

    Args:
        trainer: The trainer, as it is after the step.
        workspace: The run's folder and record.
        in_a_row: Updates in a row that were not finite.
        result: What the last update saw.
        step: The step of `result`, from 0.
        updated_at: Steps done when an update last succeeded.

    Raises:
        UserError: With the last good checkpoint, and the command that continues from it.
    """
    last = step + 1 == trainer.training.steps
    if in_a_row < trainer.training.bad_steps and not (in_a_row and last):
        return
    file = workspace.folder / f"bad_step_{step:09d}_rank_{trainer.world.rank}.safetensors"
    x0, t = trainer.batch_at(step)
    with writing(file) as temporary:
        save_file({"step": torch.tensor(step), "tokens": x0, "times": t}, temporary)
    raise UserError(
        f"Loss or gradient was not finite in {in_a_row} updates in a row (loss {result.loss}, norm "
        f"{result.grad_norm}); the weights are those before. The last batch and its times are in {file}. "
        + _remedy(workspace, float(trainer.schedule.base_lrs[0]), updated_at)
    )


def _remedy(workspace: Workspace, lr: float, updated_at: int) -> str:
    """From where to continue with a lower learning rate: a checkpoint on top of which an update has succeeded."""
    earlier = (one for one in checkpoints.steps(workspace.folder) if checkpoints.step_of(one) < updated_at)
    good = next((one for one in earlier if checkpoints.find_damage(one) is None), None)
    if good is None:
        return "No checkpoint comes before them: start anew with a lower optimizer.lr, or training.precision=fp32."
    command = workspace.command(f"--resume={checkpoints.step_of(good)}", "--allow_changes")
    return (
        f"The last good checkpoint is {good}. To continue from it with a lower learning rate: "
        f"{command} optimizer.lr={lr / 10:.2g}"
    )
