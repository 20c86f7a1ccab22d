"""Finding the checkpoint that a path or a hub id refers to."""

from __future__ import annotations

from pathlib import Path

from ..console import say
from ..errors import UserError
from ..files import check_readable, expanded
from ..text.hub import fetch, is_hub_id
from .folder import CONFIG, MODEL, find_damage, steps
from .original import CONFIG as HYDRA
from .original import is_original
from .published import is_published
from .tensors import SAVED

MODEL_FILES = ("config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json")
"""Files to fetch from the hub."""
PUBLISHED = "pytorch_model.bin"
"""Weight file of a published model without model.safetensors."""


def find_checkpoint(path: Path) -> Path:
    """Find the checkpoint folder of a path.

    Args:
        path: Checkpoint folder, folder in the published layout, run folder, or hub id. A path that does not exist and
            has the form of a hub id is fetched.

    Returns:
        The folder itself; for a run folder, its newest intact checkpoint (damaged ones are reported and skipped).

    Raises:
        UserError: No checkpoint exists at the path, or all are damaged.
    """
    path = expanded(path)
    _check_readable(path)
    if is_hub_id(path):
        path = fetch(path.as_posix(), MODEL_FILES)
    if is_original(path):
        return path
    if _has_weights(path):
        damage = None if is_published(path / CONFIG) else find_damage(path)
        if damage:
            raise UserError(f"{damage} Choose another step of the run.")
        return path
    damages = []
    for folder in steps(path):
        damage = find_damage(folder)
        if damage is None:
            return folder
        damages.append(damage)
        say(f"warning: {damage} Falling back to the previous checkpoint.")
    if damages:
        raise UserError(
            f"{path} contains no intact checkpoint. {' '.join(damages)} To restart a run from the beginning, "
            "remove its checkpoints/."
        )
    raise _nothing_at(path)


def check_exists(path: Path) -> None:
    """Check that a path may be a checkpoint, without reading files.

    Args:
        path: Checkpoint, as for `find_checkpoint`; hub ids pass.

    Raises:
        UserError: `find_checkpoint` would find no checkpoint there.
    """
    path = expanded(path)
    _check_readable(path)
    if not (is_hub_id(path) or is_original(path) or _has_weights(path) or steps(path)):
        raise _nothing_at(path)


def _has_weights(folder: Path) -> bool:
    """Whether a folder contains a weight file of a checkpoint or of a published model."""
    return any((folder / name).is_file() for name in (MODEL, PUBLISHED))


def _check_readable(path: Path) -> None:
    for part in (path, path / HYDRA, path / CONFIG, path / MODEL, path / PUBLISHED, path / "checkpoints"):
        check_readable(part)


def _nothing_at(path: Path) -> UserError:
    return UserError(
        f"{path} {_absence(path)}. Give a run folder (with checkpoints/), a folder with {MODEL} or {PUBLISHED}, or a "
        "hub id (owner/name)."
    )


def _absence(path: Path) -> str:
    """Predicate of an error message: what exists at a path instead of a checkpoint."""
    if not path.exists():
        return "does not exist"
    if path.is_file():
        return "is a file"
    saved = next((file.name for file in sorted(path.iterdir()) if file.suffix in (*SAVED, ".pkl")), None)
    if saved:
        return f"contains {saved}, but neither a config.json that describes its model nor a checkpoint"
    return "exists, but contains no checkpoint"
