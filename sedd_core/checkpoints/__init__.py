"""Checkpoints: saving, finding, loading and export. Files are read as data; no code in them is executed."""

from .find import check_exists, find_checkpoint
from .folder import (
    CONFIG,
    find_damage,
    folder_of,
    load_for_resume,
    prune,
    recover_renamed,
    save,
    step_of,
    steps,
    supersede,
)
from .load import Loaded, load_checkpoint, load_model, load_weights_into
from .tensors import read_saved, read_weights

__all__ = [
    "CONFIG",
    "Loaded",
    "check_exists",
    "find_checkpoint",
    "find_damage",
    "folder_of",
    "load_checkpoint",
    "load_for_resume",
    "load_model",
    "load_weights_into",
    "prune",
    "read_saved",
    "read_weights",
    "recover_renamed",
    "save",
    "step_of",
    "steps",
    "supersede",
]
