"""Records of earlier formats, read as those of the current one; and the old names of settings.

Every change of the format, or of a setting's name, has its lines here, for good: `Record.read` upgrades whatever it
reads, so that no other code knows old names. Command lines may use them for one release, with a warning.
"""

from __future__ import annotations

from typing import Any

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


def upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a record's file in the current format.

    Args:
        content: The JSON object of a record of this or of an earlier format; its values may be damaged.

    Returns:
        The same object where it is current, else another one.
    """
    if content["format"] >= FORMAT:
        return content
    history = content.get("history", [])
    renamed = [_with_new_path(change) for change in history] if isinstance(history, list) else history
    return {**content, "run": _node_with_new_names(content["run"]), "history": renamed, "format": FORMAT}


def with_new_names(cls: str, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a class's arguments, or of its state, by their current names.

    Args:
        cls: Name of the class.
        values: By their names in any format.
    """
    names = RENAMED.get(cls, {})
    return {names.get(name, name): value for name, value in values.items()}


def _node_with_new_names(value: Any) -> Any:
    """A node of format 1 with the new names of its arguments, those of nodes below it too."""
    if isinstance(value, list):
        return [_node_with_new_names(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _node_with_new_names(inner) for key, inner in value.items()}
    if isinstance(value.get("core"), str) and isinstance(value.get("args"), dict):
        value["args"] = with_new_names(value["core"], value["args"])
    return value


def _with_new_path(change: Any) -> Any:
    if isinstance(change, dict) and isinstance(change.get("path"), str):
        return {**change, "path": RENAMED_PATHS.get(change["path"], change["path"])}
    return change
