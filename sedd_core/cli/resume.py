"""Resuming a run: what may be changed meanwhile, and what would make it another run."""

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
        "training.eval_every",
        "training.bad_steps",
        "training.profile",
        "checkpoints",
        "validation",
        "samples",
        "sampler",
        "more_valid",
    ),
    *("monitor", "ngpus", "init_from"),
)
"""Paths that change what is looked at or how it is computed, and not what is learned."""


def take_up(workspace: Workspace, node: Node) -> None:
    """Go on under the record in the workspace's folder, if there is one; say in what the run differs from it.

    With a step named, the record is that of its checkpoint, and the main process sets later checkpoints aside.
    UserError for a difference that changes its meaning, unless the workspace allows it.
    """
    folder, step = workspace.folder, workspace.from_step
    stored = record_in(folder, step)
    check_readable(stored)
    if not stored.is_file():
        return
    if process_rank()[0] == 0:
        checkpoints.recover_renamed(folder)
    record = Record.read(stored)
    changes = list(differences(record.run, node))
    for path, old, new in changes:
        say(f"changed  {path}: {old} -> {new}")
    serious = [path for path, _, _ in changes if not _harmless(path, record.run)]
    if serious and not workspace.allow_changes:
        raise UserError(
            f"{', '.join(serious)} would make this another run than the one in {folder}. Leave it as it was, start "
            "another run (init_from takes this one's weights), or insist: --allow_changes."
        )
    if step is not None and process_rank()[0] == 0:
        _go_back(folder, step)
    workspace.record = replace(record, run=node)
    workspace.config_text = workspace.config_text if changes or step is not None else ""


def check_not_of_a_sweep(folder: Path, target: Path | None = None) -> None:
    """UserError, with how to resume each, where a run is to be resumed in the folder of a sweep's runs.

    target: the record that was taken for the run's, for want of an experiment.
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
        f"{folder} holds the {len(runs)} runs of a sweep. Resume them all by the command of the sweep:\n"
        f"  python launch.py {shlex.join(again)} --resume\nor one of them:\n{each}"
    )


def record_in(folder: Path, step: int | None) -> Path:
    """The record of a run, or of its checkpoint of a step. UserError, with the steps, where there is none of it."""
    if step is None:
        return folder / "config.json"
    path = checkpoints.folder_of(folder, step) / checkpoints.CONFIG
    if not path.is_file():
        there = ", ".join(str(checkpoints.step_of(one)) for one in reversed(checkpoints.steps(folder))) or "none"
        raise UserError(f"{folder} has no checkpoint of step {step}. It has checkpoints of the steps: {there}.")
    return path


def check_replay(target: Path, insisted: bool) -> None:
    """UserError for a record of a run that was changed on the way: run again, all its steps have the last values."""
    record = Record.read(target)
    serious = [str(change) for change in record.history if not _harmless(change.path, record.run)]
    if not serious:
        return
    message = f"The run of {target} was changed on its way: {'; '.join(serious)}. "
    if not insisted:
        raise UserError(
            f"{message}Run again from this record, all steps would have the last values, which makes another run. "
            "Insist with --allow_changes."
        )
    if process_rank()[0] == 0:
        say(f"warning: {message}Here all steps have the last values.")


def _go_back(folder: Path, step: int) -> None:
    """Make the checkpoint of a step the newest. UserError where it is damaged."""
    damage = checkpoints.find_damage(checkpoints.folder_of(folder, step))
    if damage:
        raise UserError(f"{damage} Name another step.")
    for moved in checkpoints.supersede(folder, step):
        say(f"moved    to {moved}")


def _harmless(path: str, stored: Node) -> bool:
    if path == "training.steps":  # a schedule that falls until the last step has another fall
        optimizer = stored.args["optimizer"]
        return optimizer.kind == "core" and optimizer.args.get("schedule", "constant") == "constant"
    return any(path == known or path.startswith(known + ".") for known in HARMLESS)
