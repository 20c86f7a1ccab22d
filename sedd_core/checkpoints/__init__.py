"""Checkpoints: saving, finding, loading and export, in the own layout and in those of the installed formats.

Files are read as data; no code in them is executed.
"""

from .find import Found, check_exists, find_checkpoint, newest_intact
from .folder import (
    folder_of,
    load_for_resume,
    prune,
    recover_renamed,
    save,
    step_of,
    steps,
    supersede,
    write_error,
)
from .length import trained_length
from .load import Loaded, load_checkpoint, load_found, load_model, load_weights_into
from .sums import CONFIG, MOMENTS, find_damage

__all__ = [
    "CONFIG",
    "MOMENTS",
    "Found",
    "Loaded",
    "check_exists",
    "find_checkpoint",
    "find_damage",
    "folder_of",
    "load_checkpoint",
    "load_for_resume",
    "load_found",
    "load_model",
    "load_weights_into",
    "newest_intact",
    "prune",
    "recover_renamed",
    "save",
    "step_of",
    "steps",
    "supersede",
    "trained_length",
    "write_error",
]
