"""Checkpoints: a folder that is enough to sample and evaluate, written whole or not at all, and only ever data.

    model.safetensors  ema.safetensors  tokenizer.json  config.json (the record)  trainer.pt  sha256

trainer.pt is what only resuming needs: tensors, numbers and texts, which torch reads without running anything.

Weights carry the backbone's own names, those of a learned noise or graph the prefix `noise.` or `graph.`.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .codec import Codec
from .console import say
from .ema import EMA
from .errors import UserError
from .plugins import STAGES
from .published import is_published, published_record
from .record import Record, build, construct
from .score import ScoreHead, ScoreModel
from .stages import Graph, Noise

MODEL, AVERAGE, CODEC, CONFIG = "model.safetensors", "ema.safetensors", "tokenizer.json", "config.json"
STATE, SUMS, NEWEST = "trainer.pt", "sha256", "newest"


class Loaded(NamedTuple):
    """A checkpoint's contents; `codec` is None where it has none (a published one)."""

    model: ScoreModel
    graph: Graph
    noise: Noise
    codec: Codec | None
    record: Record


def weights(model: ScoreModel, noise: Noise) -> dict[str, Tensor]:
    """Everything to save, by the name it has in the file. The tensors are the live ones."""
    return {
        **model.backbone.state_dict(),
        **{f"noise.{name}": value for name, value in noise.state_dict().items()},
        **{f"graph.{name}": value for name, value in model.graph.state_dict().items()},
    }


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

    state: of the trainer, for resuming: tensors, numbers, texts, and dictionaries and lists of them.
    """
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        _write_weights(temporary / MODEL, model, noise)
        with ema.in_place():
            _write_weights(temporary / AVERAGE, model, noise)
        codec.save(temporary / CODEC)
        record.write(temporary / CONFIG)
        if state is not None:
            torch.save(state, temporary / STATE)
        sums = "".join(f"{_digest(path)}  {path.name}\n" for path in sorted(temporary.iterdir()))
        (temporary / SUMS).write_text(sums)
        for path in temporary.iterdir():
            _sync(path)
        earlier = folder.with_name(folder.name + ".earlier.tmp")
        if folder.exists():  # of the same step, damaged or not
            os.rename(folder, earlier)
        os.rename(temporary, folder)
        shutil.rmtree(earlier, ignore_errors=True)
        _point(folder)
        _sync(folder.parent)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch's writer raises the last
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(f"The checkpoint {folder} could not be written: {error}. Earlier ones are whole.") from error


def load(path: str | Path, *, ema: bool = True, device: str = "cpu") -> Loaded:
    """What a run folder, a checkpoint folder or a folder in the published layout holds, ready to evaluate.

    ema: the averaged weights (a published file has no others). Raises UserError when there is no checkpoint, when it
    is damaged, or when a plugin that it names is not installed.
    """
    folder = find(Path(path))
    if is_published(folder / CONFIG):
        record, codec, file = published_record(folder / CONFIG), None, folder / MODEL
    else:
        record, codec = Record.read(folder / CONFIG), Codec.load(folder / CODEC)
        file = folder / (AVERAGE if ema else MODEL)
    graph, noise, backbone = (_part(record, stage) for stage in ("graph", "noise", "model"))
    model = ScoreModel(backbone, graph, _part(record, "score"))
    _read_weights(file, model, noise)
    return Loaded(model.to(device).eval(), graph, noise.to(device).eval(), codec, record)


def load_model(path: str | Path, *, ema: bool = True, device: str = "cpu") -> tuple[ScoreModel, Graph, Noise]:
    """`model, graph, noise = load_model(path)`; `model(x, sigma)` is the log-score. See `load`."""
    return load(path, ema=ema, device=device)[:3]


def find(path: Path) -> Path:
    """The checkpoint folder meant by a path: itself, or the newest whole one of the run folder that it is.

    A damaged one of a run folder is named, and the one before it taken.
    """
    if (path / MODEL).is_file():
        damage = None if is_published(path / CONFIG) else fault(path)
        if damage:
            raise UserError(f"{damage} Use another step of the run.")
        return path
    damages = []
    for folder in steps(path):
        damage = fault(folder)
        if damage is None:
            return folder
        damages.append(damage)
        say(f"warning: {damage} The one before it is used, if there is one.")
    if damages:
        raise UserError(f"{path} holds no whole checkpoint. {' '.join(damages)}")
    what = "exists, but holds no checkpoint" if path.exists() else "does not exist"
    raise UserError(f"{path} {what}. Give a run folder (with checkpoints/) or a checkpoint folder (with {MODEL}).")


def steps(run: Path) -> list[Path]:
    """The checkpoint folders of a run, the newest first."""
    return sorted((f for f in run.glob("checkpoints/step_*") if f.suffix != ".tmp"), reverse=True)


def resume(folder: Path, model: ScoreModel, noise: Noise, ema: EMA) -> dict[str, Any]:
    """Put a checkpoint's weights and averages in place. Returns the trainer's state; UserError when it has none."""
    if not (folder / STATE).is_file():
        raise UserError(
            f"{folder} has no {STATE}, so the run cannot go on from it. Start from its weights: init_from."
        )
    _read_weights(folder / MODEL, model, noise)
    with ema.in_place():
        _read_weights(folder / AVERAGE, model, noise)
    try:
        return torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise UserError(
            f"{folder / STATE} holds more than a trainer's state, and was not run: leave it alone."
        ) from error


def weights_of(path: Path, model: ScoreModel, noise: Noise) -> None:
    """Put the averaged weights of a checkpoint in place. UserError when they do not fit."""
    folder = find(path)
    _read_weights(folder / (AVERAGE if (folder / AVERAGE).is_file() else MODEL), model, noise)


def prune(run: Path, passing: Callable[[int], bool], keep: int) -> None:
    """Remove all but the `keep` newest of the checkpoints whose steps are `passing`."""
    passed = [folder for folder in steps(run) if passing(int(folder.name.removeprefix("step_")))]
    for folder in passed[keep:]:
        shutil.rmtree(folder, ignore_errors=True)


def _part(record: Record, name: str) -> Any:
    """One of the run's stages, or its score head. UserError when the record has another thing in its place."""
    built = build(record.node(name), name)
    part = construct(built.func, built.keywords, name) if isinstance(built, partial) else built
    expected = STAGES.get(name, ScoreHead)
    if not isinstance(part, expected):
        raise UserError(f"The record is damaged: its {name} is a {type(part).__name__}, not a {expected.__name__}.")
    return part


def _write_weights(file: Path, model: ScoreModel, noise: Noise) -> None:
    save_file({name: value.contiguous() for name, value in weights(model, noise).items()}, file, {"format": "pt"})


def _read_weights(file: Path, model: ScoreModel, noise: Noise) -> None:
    try:
        stored = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"The weights in {file} cannot be read: {error}.") from error
    modules: dict[str, nn.Module] = {"noise.": noise, "graph.": model.graph, "": model.backbone}
    for prefix, module in modules.items():
        own = {name: stored.pop(name) for name in list(stored) if name.startswith(prefix)}
        try:
            module.load_state_dict({name.removeprefix(prefix): value for name, value in own.items()})
        except RuntimeError as error:
            raise UserError(f"The weights in {file} do not fit the model of their config.json: {error}") from error


def fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder by its checksums, or None."""
    if not (folder / SUMS).is_file():
        return f"{folder} has no {SUMS} file: it is no whole checkpoint."
    for line in (folder / SUMS).read_text(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if not (folder / name).is_file() or _digest(folder / name) != digest:
            return f"{folder / name} is damaged or missing: its checksum differs."
    return None


def _point(folder: Path) -> None:
    """Make the link `newest` beside the checkpoints of a run lead to this one."""
    link = folder.with_name(NEWEST + ".tmp")
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    os.replace(link, folder.with_name(NEWEST))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
