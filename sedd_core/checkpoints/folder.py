"""Checkpoint folders: written atomically, containing data only, and sufficient for sampling and evaluation.

    model.safetensors  ema.safetensors  tokenizer.json  config.json (the record)  trainer.pt  sha256

trainer.pt is required for resuming only: tensors, numbers and strings, which torch reads without executing code. So is
moments/, which runs that divide the optimizer's state over their processes write: a safetensors file per process.

Weights have the backbone's own names; parameters of the noise schedule or the graph have the prefix `noise.` or
`graph.`.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ..errors import UserError
from ..files import WINDOWS, check_readable, side_file, writing_folder
from ..model.ema import EMA
from ..model.memory import is_exhausted
from ..model.score import ScoreModel
from ..record.record import Record
from ..stages import Noise
from ..tensors import read_saved, read_weights
from ..text.codec import Codec
from .sums import AVERAGE, CODEC, CONFIG, MODEL, MOMENTS, STATE, find_damage, write_sums
from .weights import load_state_into, write_weights

NEWEST, SUPERSEDED = "newest", "superseded"
ASIDE = ".earlier.tmp"
"""Suffix that version 0.1.0 gave to a step's folder while saving it again."""


def save(
    folder: Path,
    model: ScoreModel,
    noise: Noise,
    ema: EMA,
    codec: Codec,
    record: Record,
    state: dict[str, Any] | None = None,
    moments: Path | None = None,
) -> None:
    """Write a checkpoint folder atomically and link it as `newest`.

    An intact checkpoint of the same step is kept, since replacing a folder is not atomic: a kill could lose it. A run
    that goes back to an earlier step calls `supersede` first. A damaged checkpoint is replaced.

    Args:
        folder: Folder to write, as from `folder_of`.
        model: Model whose backbone and graph are saved.
        noise: Noise schedule.
        ema: Averages of the parameters, saved as separate weights.
        codec: Tokenizer.
        record: Record of the run.
        state: Trainer state for resuming (tensors, numbers, strings, and dicts and lists of them); None to omit it.
        moments: Folder of files on the same disk that becomes the checkpoint's moments/; None: it has none.

    Raises:
        UserError: The folder cannot be written; no part of it remains.
    """
    try:
        if not folder.exists() or find_damage(folder) is not None:
            if folder.exists():  # damaged; a kill during its replacement would leave the link dangling
                folder.with_name(NEWEST).unlink(missing_ok=True)
            with writing_folder(folder) as temporary:
                write_weights(temporary / MODEL, model, noise)
                with ema.in_place():
                    write_weights(temporary / AVERAGE, model, noise)
                codec.save(temporary / CODEC)
                record.write(temporary / CONFIG)
                if state is not None:
                    torch.save(state, temporary / STATE)
                if moments is not None:
                    os.rename(moments, temporary / MOMENTS)
                write_sums(temporary)
        _point(folder)
    except (OSError, SafetensorError, RuntimeError) as error:  # RuntimeError: from torch's writer
        if is_exhausted(error):  # out of memory, not a write error
            raise
        raise write_error(folder, error) from error


def write_error(folder: Path, error: Exception) -> UserError:
    """The error to raise for a checkpoint `folder` that could not be written because of `error`."""
    free = shutil.disk_usage(folder.parent if folder.parent.is_dir() else ".").free / 2**20
    return UserError(
        f"The checkpoint {folder} could not be written: {error} ({free:,.0f} MiB of the disk free). "
        "Earlier checkpoints are intact: free disk space, then continue with --resume."
    )


def recover_renamed(run: Path) -> None:
    """Restore checkpoints that version 0.1.0 left under a temporary name when killed between two renames.

    Before saving a step again, it renamed the step's folder to `step_N.earlier.tmp`, which no reader accepts and
    `prune` removes.

    Args:
        run: Run folder.
    """
    for aside in run.glob(f"checkpoints/step_*{ASIDE}"):
        folder = aside.with_name(aside.name.removesuffix(ASIDE))
        if not folder.exists():
            os.rename(aside, folder)


def steps(run: Path) -> list[Path]:
    """Checkpoint folders of a run, newest first. UserError if the folder is not readable."""
    check_readable(run / "checkpoints")
    return _stepped(run / "checkpoints")


def _stepped(folder: Path) -> list[Path]:
    """Entries `step_<number>` of a folder, last step first."""
    return sorted((one for one in folder.glob("step_*") if re.fullmatch("[0-9]{1,18}", one.name[5:])), reverse=True)


def folder_of(run: Path, step: int) -> Path:
    """Path of the checkpoint folder of a step of a run; the folder may not exist."""
    return run / "checkpoints" / f"step_{step:09d}"


def step_of(folder: Path) -> int:
    """Step of a folder named `step_<number>`."""
    return int(folder.name[5:])


def load_for_resume(folder: Path, model: ScoreModel, noise: Noise, ema: EMA) -> Any:
    """Load the weights and averages of a checkpoint, and read its trainer state.

    Args:
        folder: Checkpoint folder.
        model: Model to load.
        noise: Noise schedule to load.
        ema: Averages to load.

    Returns:
        The content of trainer.pt, unchecked.

    Raises:
        UserError: A file is missing or damaged, or the weights do not fit.
    """
    if not (folder / STATE).is_file():
        raise UserError(
            f"{folder} has no {STATE}, so the run cannot be resumed from it. Start a new run from its weights: "
            f"init_from={folder}"
        )
    load_state_into(read_weights(folder / MODEL), folder / MODEL, model, noise)
    with ema.in_place():
        load_state_into(read_weights(folder / AVERAGE), folder / AVERAGE, model, noise)
    return read_saved(folder / STATE, copy=True)  # the moments must outlive the file, which may be pruned


def supersede(run: Path, step: int) -> list[Path]:
    """Move checkpoints and samples of later steps to folders superseded/, so that the run continues from a step.

    Args:
        run: Run folder.
        step: Step of an existing checkpoint.

    Returns:
        New paths of the moved folders.
    """
    moved = []
    for folder in [*steps(run), *_stepped(run / "samples")]:
        if step_of(folder) > step:
            aside = folder.parent / SUPERSEDED
            aside.mkdir(exist_ok=True)
            names = itertools.chain([folder.name], (f"{folder.name}_{number}" for number in itertools.count(2)))
            moved.append(next(aside / name for name in names if not (aside / name).exists()))
            os.rename(folder, moved[-1])
    _point(folder_of(run, step))
    return moved


def prune(run: Path, done: int, is_temporary: Callable[[int], bool], keep: int) -> None:
    """Remove all but the newest temporary checkpoints, and incomplete folders left by a kill.

    Args:
        run: Run folder.
        done: Number of steps done. Checkpoints of later steps are ignored: they are damaged, and the run was resumed
            from an earlier one.
        is_temporary: Whether the checkpoint of a step may be removed.
        keep: Number of temporary checkpoints to keep.
    """
    temporary = [folder for folder in steps(run) if is_temporary(step_of(folder)) and step_of(folder) <= done]
    for folder in [*temporary[keep:], *run.glob("checkpoints/step_*.tmp")]:
        shutil.rmtree(folder, ignore_errors=True)


def _point(folder: Path) -> None:
    """Link `newest`, beside the checkpoints of a run, to a checkpoint: for users only, no code depends on it.

    Skipped on Windows, where symbolic links require a privilege.
    """
    if WINDOWS:
        return
    link = folder.with_name(NEWEST + ".tmp")
    with side_file(folder.with_name(NEWEST)):
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name)
        os.replace(link, folder.with_name(NEWEST))
