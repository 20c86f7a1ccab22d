"""Records of earlier formats, read as those of the current one; and the old names of settings.

Every change of the format, or of a setting's name, has its lines here, for good: `Record.read` upgrades whatever it
reads, so that no other code knows old names. Command lines may use them for one release, with a warning.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .node import Node

FORMAT = 2
"""Format of the records that this version writes."""
RENAMED: dict[str, dict[str, str]] = {
    "Training": {"ema": "ema_decay", "snapshot_every": "eval_every"},
    "Sample": {"given_noise": "fixed_token_noise"},
    "Meter": {"by_time": "loss_by_time_bin", "tokens": "tokens_by_time_bin"},
}
"""Settings, and numbers of a checkpoint's trainer, that got another name in format 2: by class, old and new name."""
RENAMED_PATHS = {
    "training.ema": "training.ema_decay",
    "training.snapshot_every": "training.eval_every",
    "given_noise": "fixed_token_noise",
}
"""The same by the paths that command lines and histories have."""


def upgrade(run: Node) -> Node:
    """The run of a record of an earlier format, under the current names of all arguments in it.

    Args:
        run: The node as the record's file has it.
    """
    args = run.map_args(lambda value, _: upgrade(value) if isinstance(value, Node) else value)
    return replace(run, args=with_new_names(run.name, args) if run.kind == "core" else args)


def with_new_names(cls: str, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a class's arguments, or of its state, by their current names.

    Args:
        cls: Name of the class.
        values: By their names in any format.
    """
    names = RENAMED.get(cls, {})
    return {names.get(name, name): value for name, value in values.items()}
