"""Upgrade of records from earlier formats, and old names of settings.

Every change of the format or of a setting's name has a permanent entry here: `Record.read` upgrades each record, so
that no other code knows old names. Command lines accept old names for one release, with a warning.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .node import Node

FORMAT = 2
"""Record format that this version writes."""
RENAMED: dict[str, dict[str, str]] = {
    "Train": {"score": "head", "validation": "evaluator"},
    "Training": {"ema": "ema_decay", "snapshot_every": "eval_every"},
    "Sample": {"given_noise": "fixed_token_noise"},
    "Meter": {"by_time": "loss_by_time_bin", "tokens": "tokens_by_time_bin"},
}
"""Settings and checkpoint entries renamed in format 2: by class, from the old to the new name."""
PLUGINS = {"ScoreHead": "head_score", "Validation": "evaluator_bound"}
"""Classes of the core that became plugins in format 2."""
ADDED = {"Train": {"objective": "objective_score_entropy"}}
"""Stages that format 2 added: by class, with the plugin that was hard-wired before."""
RENAMED_PATHS = {
    "score": "head",
    "score.scale_by_sigma": "head.scale_by_sigma",
    "training.ema": "training.ema_decay",
    "training.snapshot_every": "training.eval_every",
    "given_noise": "fixed_token_noise",
    **{f"validation.{name}": f"evaluator.{name}" for name in ("sequences", "points", "batch_size", "references")},
}
"""Settings renamed in format 2: from the old to the new path on command lines and in histories."""


def upgrade(run: Node) -> Node:
    """Rename all arguments of a run in an earlier format to their current names, and classes that became plugins.

    Args:
        run: Node as read from the record's file.
    """
    args = run.map_args(lambda value, _: upgrade(value) if isinstance(value, Node) else value)
    if run.kind != "core":
        return replace(run, args=args)
    if run.name in PLUGINS:
        return Node("plugin", PLUGINS[run.name], args)
    added = {name: Node("plugin", plugin) for name, plugin in ADDED.get(run.name, {}).items()}
    return replace(run, args=added | with_new_names(run.name, args))


def with_new_names(cls: str, values: dict[str, Any]) -> dict[str, Any]:
    """Rename the arguments or the state of a class to their current names.

    Args:
        cls: Name of the class.
        values: Values by their names in any format.
    """
    names = RENAMED.get(cls, {})
    return {names.get(name, name): value for name, value in values.items()}
