"""Checkpoints: a folder that is enough to sample and evaluate, written whole or not at all, and only ever data.

    model.safetensors  ema.safetensors  tokenizer.json  config.json (the record)  trainer.pt  sha256

trainer.pt is what only resuming needs: tensors, numbers and texts, which torch reads without running anything.

Weights carry the backbone's own names, parameters of a noise or a graph the prefix `noise.` or `graph.`.
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
from ..files import WINDOWS, check_readable, digest, side_file, writing_folder
from ..model.ema import EMA
from ..model.memory import is_exhausted
from ..model.score import ScoreModel
from ..record.record import Record
from ..stages import Noise
from ..text.codec import Codec
from .tensors import read_saved, read_weights
from .weights import load_state_into, write_weights

MODEL, AVERAGE, CODEC, CONFIG = "model.safetensors", "ema.safetensors", "tokenizer.json", "config.json"
STATE, SUMS, NEWEST, SUPERSEDED = "trainer.pt", "sha256", "newest", "superseded"
ASIDE = ".earlier.tmp"
"""Suffix that version 0.1.0 gave to a step while it saved it again."""


def save(
    folder: Path,
    model: ScoreModel,
    noise: Noise,
    ema: EMA,
    codec: Codec,
    record: Record,
    state: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint folder and point to it as the newest; a failure leaves neither it nor a part of it.

    A sound checkpoint of the same step stays as it is: steps are deterministic, and replacing a folder is not one
    operation, so that a kill could lose it. Whoever goes back to an earlier step and changes a run removes the later
    checkpoints first. An unsound one is replaced.

    state: of the trainer, for resuming: tensors, numbers, texts, and dictionaries and lists of them.
    """
    try:
        if not folder.exists() or find_damage(folder) is not None:
            if folder.exists():
                folder.with_name(NEWEST).unlink(missing_ok=True)  # else a kill in the replacement leaves it dangling
            with writing_folder(folder) as temporary:
                write_weights(temporary / MODEL, model, noise)
                with ema.in_place():
                    write_weights(temporary / AVERAGE, model, noise)
                codec.save(temporary / CODEC)
                record.write(temporary / CONFIG)
                if state is not None:
                    torch.save(state, temporary / STATE)
                sums = "".join(f"{digest(path)}  {path.name}\n" for path in sorted(temporary.iterdir()))
                (temporary / SUMS).write_text(sums)
        _point(folder)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch's writer raises the last
        if is_exhausted(error):  # of memory, not of the disk
            raise
        free = shutil.disk_usage(folder.parent if folder.parent.is_dir() else ".").free / 2**20
        raise UserError(
            f"The checkpoint {folder} could not be written: {error}. The disk has {free:,.0f} MiB free without it. "
            "Earlier ones are whole: continue with --resume once there is room."
        ) from error


def recover_renamed(run: Path) -> None:
    """Rename checkpoints that version 0.1.0 had set aside when it was killed between two renames.

    It renamed a step that it saved again to `step_N.earlier.tmp` first; no reader takes that, and `prune` removes it.
    """
    for aside in run.glob(f"checkpoints/step_*{ASIDE}"):
        folder = aside.with_name(aside.name.removesuffix(ASIDE))
        if not folder.exists():
            os.rename(aside, folder)


def steps(run: Path) -> list[Path]:
    """The checkpoint folders of a run, the newest first. UserError where the user may not list them."""
    check_readable(run / "checkpoints")
    return _stepped(run / "checkpoints")


def _stepped(folder: Path) -> list[Path]:
    """What a folder holds of steps, `step_<number>`, the last first."""
    inside = folder.glob("step_*")
    return sorted((one for one in inside if re.fullmatch("[0-9]{1,18}", one.name[5:])), reverse=True)


def folder_of(run: Path, step: int) -> Path:
    """The checkpoint folder of a step of a run, whether it is there or not."""
    return run / "checkpoints" / f"step_{step:09d}"


def step_of(folder: Path) -> int:
    """The step of one of these folders."""
    return int(folder.name[5:])


def load_for_resume(folder: Path, model: ScoreModel, noise: Noise, ema: EMA) -> Any:
    """Put a checkpoint's weights and averages in place. Returns what is to be the trainer's state, unchecked.

    UserError when it has none.
    """
    if not (folder / STATE).is_file():
        raise UserError(
            f"{folder} has no {STATE}, so the run cannot be resumed from it. Start another from its weights: "
            f"init_from={folder}"
        )
    load_state_into(read_weights(folder / MODEL), folder / MODEL, model, noise)
    with ema.in_place():
        load_state_into(read_weights(folder / AVERAGE), folder / AVERAGE, model, noise)
    return read_saved(folder / STATE, copy=True)  # a file that is pruned meanwhile must not hold the moments


def supersede(run: Path, step: int) -> list[Path]:
    """Set checkpoints and samples of later steps aside, in folders superseded/: the run continues from `step`.

    Args:
        run: A run folder.
        step: The step of a checkpoint that is there.

    Returns:
        Where they are now.
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


def prune(run: Path, done: int, passing: Callable[[int], bool], keep: int) -> None:
    """Remove all but the `keep` newest checkpoints of `passing` steps, and what a kill left half-written.

    done: The step that the run has come to. Checkpoints of later ones do not count: they are damaged, and the run was
    resumed before them.
    """
    passed = [folder for folder in steps(run) if passing(step_of(folder)) and step_of(folder) <= done]
    for folder in [*passed[keep:], *run.glob("checkpoints/step_*.tmp")]:
        shutil.rmtree(folder, ignore_errors=True)


def find_damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder by its checksums, or None.

    Every file that a checkpoint needs must be there and have its line in the checksum file; so must the trainer's
    state where it is there. UserError where the user may not read a file.
    """
    for name in (".", SUMS):
        check_readable(folder / name)
    if not (folder / SUMS).is_file():
        return f"{folder} has no {SUMS} file: it is no whole checkpoint."
    lines = (folder / SUMS).read_text(errors="replace").splitlines()
    sums = {Path(name).name: value for value, _, name in (line.partition("  ") for line in lines)}
    needed = {MODEL, AVERAGE, CODEC, CONFIG, *([STATE] if (folder / STATE).exists() else [])}
    for name in sorted(needed | set(sums)):
        if name not in sums:
            return f"{folder / SUMS} is damaged: it has no checksum of {name}."
        check_readable(folder / name)
        if not (folder / name).is_file() or digest(folder / name) != sums[name]:
            return f"{folder / name} is damaged or missing: its checksum differs."
    return None


def _point(folder: Path) -> None:
    """Make the link `newest` beside the checkpoints of a run lead to this one; no run depends on it.

    On Windows, where links need a privilege, there is none.
    """
    if WINDOWS:
        return
    link = folder.with_name(NEWEST + ".tmp")
    with side_file(folder.with_name(NEWEST)):
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name)
        os.replace(link, folder.with_name(NEWEST))
