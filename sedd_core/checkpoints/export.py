"""Export of a checkpoint to the layout of a format, for the hub or another program, with a model card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError

from ..console import say
from ..errors import UserError
from ..files import TEMPORARY, check_readable, write_text, writing_folder
from .card import model_card
from .find import DEFAULT, OWN, find_checkpoint
from .formats import format_named
from .length import trained_length
from .load import load_found
from .sums import CODEC, write_sums
from .weights import state_dict_of

CARD = "README.md"
OWN_NAME = "own"
"""Name of the layout of this project's checkpoints, which is no plugin."""


def export(
    path: str | Path, folder: str | Path, *, ema: bool = True, format: str = DEFAULT, tokenizer: str | None = None
) -> None:
    """Write a model in the layout of a format, its tokenizer.json (if it has one) and a model card to a folder.

    Args:
        path: Checkpoint, as for `load_checkpoint`.
        folder: New or empty folder to write.
        ema: Whether to export the averaged weights.
        format: Name of the format to write; "own": the layout of this project's checkpoints.
        tokenizer: Tokenizer for a checkpoint without one, as for `load_checkpoint`.

    Raises:
        UserError: The format is not installed or is read only, the layout cannot express the model, or the folder is
            not empty or cannot be written. Nothing is written then.
    """
    layout = OWN if format == OWN_NAME else format_named(format)
    found, target = find_checkpoint(Path(path)), Path(folder)
    staging = target.with_name(target.name + TEMPORARY)
    for location in (target, staging):
        check_readable(location)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target} exists and is not an empty folder. Choose a new folder.")
    if staging.exists():
        raise UserError(f"{staging}, the temporary folder of the export, exists. Remove it, or choose another folder.")
    loaded = load_found(found, ema=ema, tokenizer=tokenizer)
    if layout is OWN and loaded.codec is None:
        raise UserError(f"The own layout contains a tokenizer, and {found.path} has none: name one, for example gpt2.")
    record = replace(loaded.record, length=trained_length(loaded.record) or 0)
    try:
        with writing_folder(target) as temporary:
            layout.write(temporary, record, state_dict_of(loaded.model, loaded.noise))
            if loaded.codec is not None:
                loaded.codec.save(temporary / CODEC)
            if layout is OWN:
                write_sums(temporary)
            write_text(temporary / CARD, model_card(target.name, loaded, found.path, ema, layout.title))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{target} cannot be written: {error}. Choose another folder.") from error


def main(path: str, folder: str, format: str = DEFAULT, tokenizer: str | None = None) -> int:
    """Run `python -m sedd_core export RUN FOLDER [FORMAT [TOKENIZER]]`. Args and Raises: see `export`.

    Returns:
        The exit code.
    """
    export(path, folder, format=format, tokenizer=tokenizer)
    say(f"Written to {folder}. Review {CARD} and add a license before sharing it.")
    return 0
