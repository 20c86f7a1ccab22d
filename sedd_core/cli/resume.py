"""Resumption of runs: which settings may change, and which would make it a different run."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from .. import checkpoints
from ..build.compare import differences
from ..build.workspace import Workspace
from ..console import say
from ..distributed.rank import process_rank
from ..errors import UserError
from ..files import check_readable
from ..record.node import Node
from ..record.record import Record

HARMLESS = (
    *("training.steps", "training.accum", "training.microbatch", "training.compile", "training.log_every"),
    *(
        "training.parallel",
        "training.deterministic",
        "training.eval_every",
        "training.bad_steps",
        "training.profile",
        "checkpoints",
        "evaluator",
        "evaluators",
        "samples",
        "sampler",
        "more_valid",
    ),
    *("model.attention", "model.activation_checkpointing"),
    *("monitor", "monitors", "ngpus", "init_from", "init_format"),
)
"""Settings that affect how training is computed, monitored or evaluated, but not what it learns."""


def take_up(workspace: Workspace, node: Node) -> None:
    """Continue the record in the workspace's folder, if there is one, and print the settings that have changed.

    With `workspace.from_step`, the record is that of the step's checkpoint, and the main process moves later
    checkpoints to checkpoints/superseded/.

    Args:
        workspace: Workspace of the run; its record is replaced.
        node: Record node of the run as it is started now.

    Raises:
        UserError: A change makes it a different run, and the workspace does not allow that; or there is no
            checkpoint of the step.
    """
    folder, step = workspace.folder, workspace.from_step
    stored = record_in(folder, step)
    check_readable(stored)
    if not stored.is_file():
        return
    if process_rank().rank == 0:
        checkpoints.recover_renamed(folder)
    record = Record.read(stored)
    changes = list(differences(record.run, node))
    for path, old, new in changes:
        say(f"changed  {path}: {old} -> {new}")
    serious = [path for path, _, _ in changes if not _harmless(path, record.run)]
    if serious and not workspace.allow_changes:
        raise UserError(
            f"Changing {', '.join(serious)} makes this a different run from the one in {folder}. Restore the old "
            "value, start a new run (init_from reuses these weights), or force the change: --allow_changes"
        )
    if step is not None and process_rank().rank == 0:
        _rewind(folder, step)
    workspace.record = replace(record, run=node)
    workspace.config_text = workspace.config_text if changes or step is not None else ""


def check_not_of_a_sweep(folder: Path, target: Path | None = None) -> None:
    """Check that the folder to resume is not that of a sweep.

    Args:
        folder: Folder to resume.
        target: Record that --resume found without an experiment.

    Raises:
        UserError: The folder contains the runs of a sweep; with the commands that resume them.
    """
    runs = sorted(record.parent for record in folder.glob("*/config.json"))
    if not runs or (folder / "config.json").exists() or (target is not None and target.parent != folder):
        return
    command = Record.read(runs[0] / "config.json").command
    again = [word for word in shlex.split(command)[1:] if word != "--resume"]
    if not any(word.startswith("--run_folder") for word in again):
        again.append(f"--run_folder={folder}")
    each = "\n".join(f"  --resume {shlex.quote(f'--run_folder={run}')}" for run in runs)
    raise UserError(
        f"{folder} contains the {len(runs)} runs of a sweep. To resume them all, repeat the sweep's command:\n"
        f"  python launch.py {shlex.join(again)} --resume\nTo resume one of them:\n{each}"
    )


def record_in(folder: Path, step: int | None) -> Path:
    """The path of the record of a run or of one of its checkpoints.

    Args:
        folder: Folder of the run.
        step: Step of the checkpoint; None: the record of the run itself.

    Raises:
        UserError: There is no checkpoint of this step; with the steps that have one.
    """
    if step is None:
        return folder / "config.json"
    path = checkpoints.folder_of(folder, step) / checkpoints.CONFIG
    if not path.is_file():
        saved = ", ".join(str(checkpoints.step_of(one)) for one in reversed(checkpoints.steps(folder))) or "none"
        raise UserError(f"{folder} has no checkpoint of step {step}. Steps with a checkpoint: {saved}.")
    return path


def check_replay(target: Path, allow_changes: bool) -> None:
    """Check that a record describes all steps of its run: settings may have changed when the run was resumed.

    Args:
        target: Record to run again.
        allow_changes: Print a warning instead; the last values apply to all steps.

    Raises:
        UserError: Settings that affect what the run learns were changed during it.
    """
    record = Record.read(target)
    serious = [str(change) for change in record.history if not _harmless(change.path, record.run)]
    if not serious:
        return
    message = f"Settings of the run of {target} were changed during it: {'; '.join(serious)}. "
    if not allow_changes:
        raise UserError(
            f"{message}A run from this record would use the last values in all steps, which is a different run. "
            "To start it anyway: --allow_changes"
        )
    if process_rank().rank == 0:
        say(f"warning: {message}This run uses the last values in all steps.")


def _rewind(folder: Path, step: int) -> None:
    """Make the checkpoint of a step the newest. UserError where it is damaged."""
    damage = checkpoints.find_damage(checkpoints.folder_of(folder, step))
    if damage:
        raise UserError(f"{damage} Choose another step.")
    for moved in checkpoints.supersede(folder, step):
        say(f"moved    to {moved}")


def _harmless(path: str, stored: Node) -> bool:
    """Whether a change of this setting leaves what the run learns unchanged."""
    if path == "training.steps":  # a decaying schedule depends on the last step
        optimizer = stored.args["optimizer"]
        return optimizer.kind == "core" and optimizer.args.get("schedule", "constant") == "constant"
    return any(path == known or path.startswith(known + ".") for known in HARMLESS)
