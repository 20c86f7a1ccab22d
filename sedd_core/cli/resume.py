"""Going on with a run: what may be changed meanwhile, and what would make it another run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import checkpoint
from ..console import say
from ..errors import UserError
from ..files import check_readable
from ..place import place
from ..record import FILLED_IN, Node, Record
from ..runs.base import Workspace

HARMLESS = (
    *("training.steps", "training.accum", "training.microbatch", "training.compile", "training.log_every"),
    *(
        "training.snapshot_every",
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

    UserError for a difference that changes its meaning, unless the workspace allows it.
    """
    folder = workspace.folder
    check_readable(folder / "config.json")
    if not (folder / "config.json").is_file():
        return
    if place()[0] == 0:
        checkpoint.take_back(folder)
    record = Record.read(folder / "config.json")
    stored, changes = record.run, list(differences(record.run, node))
    for path, old, new in changes:
        say(f"changed  {path}: {old!r} -> {new!r}")
    serious = [path for path, _, _ in changes if not _harmless(path, stored)]
    if serious and not workspace.allow_changes:
        raise UserError(
            f"{', '.join(serious)} would make this another run than the one in {folder}. Leave it as it was, start "
            "another run (init_from takes this one's weights), or insist: --allow_changes."
        )
    workspace.record = replace(record, run=node)
    workspace.config_text = workspace.config_text if changes else ""


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


def differences(stored: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Path, old and new value of whatever differs; what only the run filled in is no difference."""
    if isinstance(stored, dict) and isinstance(new, dict) and "args" in stored and "args" in new:
        names = [{key: value for key, value in node.items() if key != "args"} for node in (stored, new)]
        if names[0] != names[1]:
            yield path, _name(stored), _name(new)
            return
        for name, value in new["args"].items():
            here = f"{path}.{name}".lstrip(".")
            if name in stored["args"]:
                yield from differences(stored["args"][name], value, here)
            else:
                yield here, "its default", _name(value)
        yield from (
            (f"{path}.{name}".lstrip("."), _name(value), "its default")
            for name, value in stored["args"].items()
            if name not in new["args"] and name not in FILLED_IN
        )
    elif stored != new:
        yield path, _name(stored), _name(new)


def _harmless(path: str, stored: Node) -> bool:
    if path == "training.steps":  # a schedule that falls until the last step has another fall
        optimizer = stored["args"]["optimizer"]
        return "core" in optimizer and optimizer["args"].get("schedule", "constant") == "constant"
    return any(path == known or path.startswith(known + ".") for known in HARMLESS)


def _name(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return value.get("plugin", value.get("class", value.get("core", tuple(value.get("tuple", ())))))
