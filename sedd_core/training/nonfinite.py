"""Non-finite losses and gradients: when they end a run, and how to continue."""

from __future__ import annotations

import torch
from safetensors.torch import save_file

from .. import checkpoints
from ..build.workspace import Workspace
from ..errors import UserError
from ..files import writing
from .trainer import StepResult, Trainer


def check_finite(
    trainer: Trainer, workspace: Workspace, in_a_row: int, result: StepResult, step: int, updated_at: int
) -> None:
    """End the run after training.bad_steps consecutive non-finite updates, or if its last update is not finite.

    Before it ends, this process's last batch is saved in the run folder.

    Args:
        trainer: The trainer, after the step.
        workspace: The run's folder and record.
        in_a_row: Number of consecutive updates, up to this one, that were not finite.
        result: Statistics of the last update.
        step: Index of the last update, from 0.
        updated_at: Number of steps done when an update last succeeded.

    Raises:
        UserError: The run ends; with the last good checkpoint and the command that continues from it.
    """
    last = step + 1 == trainer.training.steps
    if in_a_row < trainer.training.bad_steps and not (in_a_row and last):
        return
    file = workspace.folder / f"bad_step_{step:09d}_rank_{trainer.world.rank}.safetensors"
    x0, t = trainer.batch_at(step)
    tensors = {"step": torch.tensor(step), "tokens": x0, **({} if t is None else {"times": t})}
    with writing(file) as temporary:
        save_file(tensors, temporary)
    raise UserError(
        f"Loss or gradient was not finite in {in_a_row} consecutive updates (loss {result.loss}, gradient norm "
        f"{result.grad_norm}); these updates were skipped. The last batch is in {file}. "
        + _remedy(workspace, float(trainer.schedule.base_lrs[0]), updated_at)
    )


def _remedy(workspace: Workspace, lr: float, updated_at: int) -> str:
    """How to continue with a lower learning rate: from a checkpoint after which an update has succeeded."""
    earlier = (folder for folder in checkpoints.steps(workspace.folder) if checkpoints.step_of(folder) < updated_at)
    good = next((folder for folder in earlier if checkpoints.find_damage(folder) is None), None)
    if good is None:
        return "There is no earlier checkpoint: restart with a lower optimizer.lr, or with training.precision=fp32."
    command = workspace.command(f"--resume={checkpoints.step_of(good)}", "--allow_changes")
    return (
        f"The last good checkpoint is {good}. To continue from it with a lower learning rate: "
        f"{command} optimizer.lr={lr / 10:.2g}"
    )
