"""Finding the checkpoint that a path or a hub id refers to, and the format that reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from torch import Tensor

from ..console import say
from ..errors import UserError
from ..files import check_readable, expanded
from ..record.record import Record
from ..registry.installed import folders, variants
from ..registry.plugins import name_of
from ..stages import Format
from ..tensors import SAVED
from ..text.hub import fetch, is_hub_id
from .folder import steps
from .formats import format_named, installed_formats, matching_formats
from .own import OwnFormat, config_of
from .sums import CONFIG, MODEL, find_damage

T = TypeVar("T")
OWN = OwnFormat()
CHOICE = "checkpoint_format=NAME to sample, init_format=NAME to train, format=NAME in Python"
DEFAULT = "sedd"
"""Format in which models are exported unless another is chosen, and whose plugin is named where it is missing."""
TRACE, TRACE_KEYS = ".hydra/config.yaml", {"graph", "noise", "model"}
"""File in a folder of the default format, or keys of its config.json."""
SAFE = ".safetensors"


class Found(NamedTuple):
    """A checkpoint, and the format that reads it."""

    path: Path
    """Folder or file of the checkpoint; of a run, its newest intact checkpoint."""
    format: Format
    """Format of the checkpoint."""

    def matches(self) -> bool:
        """See `Format.matches`. UserError if the format fails."""
        return self._guarded(self.format.matches)

    def record(self) -> Record:
        """See `Format.record`. UserError if the format fails."""
        return self._guarded(self.format.record)

    def weights(self, averaged: bool) -> dict[str, Tensor]:
        """See `Format.weights`. UserError if the format fails."""
        return self._guarded(lambda path: self.format.weights(path, averaged))

    def tokenizer(self) -> Path | None:
        """See `Format.tokenizer`. UserError if the format fails."""
        return self._guarded(self.format.tokenizer)

    def _guarded(self, read: Callable[[Path], T]) -> T:
        """What a format reads. An error that it does not explain is a UserError that names it."""
        try:
            return read(self.path)
        except (UserError, OSError, MemoryError):
            raise
        except Exception as error:
            name = name_of(type(self.format)) or type(self.format).__name__
            raise UserError(
                f"{name} cannot read {self.path} ({type(error).__name__}: {error}): the checkpoint is damaged, or "
                "the plugin has a fault."
            ) from error


def find_checkpoint(path: Path, format: str | None = None) -> Found:
    """Find the checkpoint of a path.

    Args:
        path: Run folder, checkpoint folder, folder or file in the layout of an installed format, or hub id. A path
            that does not exist and has the form of a hub id is fetched.
        format: Name of the format to read the path with, such as "sedd"; None: the own layout, else the installed
            format that matches.

    Returns:
        The checkpoint; for a run folder, its newest intact one (damaged ones are reported and skipped).

    Raises:
        UserError: No checkpoint exists at the path, it is damaged, or several formats match.
    """
    path = expanded(path)
    _check_readable(path)
    chosen = None if format is None else format_named(format)
    if is_hub_id(path):
        path = fetch(path.as_posix(), _files(chosen))
    if chosen is not None:
        return Found(_for(path, chosen), chosen)
    if OWN.matches(path):
        damage = find_damage(path)
        if damage:
            raise UserError(f"{damage} Choose another step of the run.")
        return Found(path, OWN)
    if steps(path):
        return Found(newest_intact(path), OWN)
    return Found(path, _foreign(path))


def check_exists(path: Path, format: str | None = None) -> None:
    """Check that a path may be a checkpoint, without reading weights.

    Args:
        path: Checkpoint, as for `find_checkpoint`; hub ids pass.
        format: Name of its format, as for `find_checkpoint`.

    Raises:
        UserError: `find_checkpoint` would find no checkpoint there.
    """
    path = expanded(path)
    _check_readable(path)
    chosen = None if format is None else format_named(format)
    if is_hub_id(path):
        return
    if chosen is not None:
        _for(path, chosen)
    elif not (OWN.matches(path) or steps(path)):
        _foreign(path)


def newest_intact(run: Path) -> Path:
    """The newest intact checkpoint of a run; damaged ones are reported and skipped.

    Args:
        run: Run folder with checkpoints.

    Raises:
        UserError: All are damaged.
    """
    damages = []
    for folder in steps(run):
        damage = find_damage(folder)
        if damage is None:
            return folder
        damages.append(damage)
        say(f"warning: {damage} Falling back to the previous checkpoint.")
    raise UserError(
        f"{run} contains no intact checkpoint. {' '.join(damages)} To restart a run from the beginning, "
        "remove its checkpoints/."
    )


def _files(chosen: Format | None) -> tuple[str, ...]:
    """Names of the files to ask the hub for: those of the chosen format, or of all."""
    if chosen is not None:
        return chosen.files
    names = [name for one in (OWN, *(one for _, one in installed_formats())) for name in one.files]
    return tuple(dict.fromkeys(names))


def _foreign(path: Path) -> Format:
    """The installed format that matches a path. UserError if none does, or several."""
    found = matching_formats(_existing(path))
    if not found:
        raise _nothing_at(path)
    if len(found) > 1:
        names = " and ".join(f"{name} ({one.title})" for name, one in found)
        raise UserError(f"{path} matches several formats: {names}. Choose one of them: {CHOICE}")
    return found[0][1]


def _for(path: Path, chosen: Format) -> Path:
    """The path, to be read in a chosen format. UserError if it does not exist, or is in another format."""
    if not Found(_existing(path), chosen).matches():
        own = OWN.matches(path) or steps(path)
        others = [OWN.title] if own else [one.title for _, one in matching_formats(path)]
        if others:
            raise UserError(f"{path} is {others[0]}, not {chosen.title}: leave out the choice of a format ({CHOICE}).")
    return path


def _existing(path: Path) -> Path:
    """The path. UserError if it does not exist."""
    if not path.exists():
        raise _nothing_at(path)
    return path


def _check_readable(path: Path) -> None:
    for part in (path, path / CONFIG, path / MODEL, path / "checkpoints"):
        check_readable(part)


def _nothing_at(path: Path) -> UserError:
    names = "; ".join(f"{name} ({one.title})" for name, one in installed_formats())
    return UserError(
        f"{path} {_absence(path)}. Give a run folder (with checkpoints/), a checkpoint folder, a hub id "
        f"(owner/name), or a checkpoint in an installed format: {names or 'none is installed'}."
    )


def _absence(path: Path) -> str:
    """Predicate of an error message: what exists at a path instead of a checkpoint."""
    if not path.exists():
        return "does not exist"
    if path.is_file():
        return "is a file that no installed format reads"
    config = config_of(path)
    if DEFAULT not in variants("format") and (set(config) >= TRACE_KEYS or (path / TRACE).is_file()):
        name = f"format_{DEFAULT}"
        source = "".join(f"-e {folder}" for folder in folders(name)[:1]) or f"sedd-format-{DEFAULT}"
        return f"looks like a SEDD model, for which the plugin {name} is not installed: pip install {source}"
    saved = next((file.name for file in sorted(path.iterdir()) if file.suffix in (*SAVED, SAFE, ".pkl")), None)
    if saved and (path / CONFIG).is_file():
        keys = f"with the keys {', '.join(list(config)[:6])}" if config else "which is damaged"
        return f"contains {saved} and a {CONFIG} ({keys}), which no installed format reads"
    if saved:
        return (
            f"contains {saved}, but neither a {CONFIG} that describes its model nor a checkpoint "
            f"({path / CONFIG} is missing)"
        )
    return "exists, but contains no checkpoint"
