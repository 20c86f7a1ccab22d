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
from .hub import MODEL_FILES, fetch, is_hub_id, read_tokenizer
from .original import is_original, original_record, original_weights
from .plugins import STAGES
from .published import is_published, published_record
from .record import Record, build, construct
from .score import ScoreHead, ScoreModel
from .stages import Graph, Noise

MODEL, AVERAGE, CODEC, CONFIG = "model.safetensors", "ema.safetensors", "tokenizer.json", "config.json"
STATE, SUMS, NEWEST = "trainer.pt", "sha256", "newest"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class Loaded(NamedTuple):
    """A checkpoint's contents; `codec` is None where it has none (a published one) and none was given."""

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
        for path in [*temporary.iterdir(), temporary]:
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
        free = shutil.disk_usage(folder.parent if folder.parent.is_dir() else ".").free / 2**20
        raise UserError(
            f"The checkpoint {folder} could not be written: {error}. The disk has {free:,.0f} MiB free without it. "
            "Earlier ones are whole: go on with --resume once there is room."
        ) from error


def load(path: str | Path, *, ema: bool = True, device: str = "cpu", tokenizer: str | Path | None = None) -> Loaded:
    """The model that a path or a hub id stands for, ready to evaluate.

    path: a run folder, a checkpoint folder, a folder or hub id ("louaaron/sedd-small") in the published layout, or a
    run folder of the original's. ema: the averaged weights (a published file has no others). tokenizer: for a model
    that comes without one: see `hub.read_tokenizer`. Raises UserError when there is no checkpoint, when it is damaged
    or holds more than data, or when a plugin that it names is not installed.
    """
    folder = find(Path(path))
    record = _record(folder)
    graph, noise, backbone = (_part(record, stage) for stage in ("graph", "noise", "model"))
    model = ScoreModel(backbone, graph, _part(record, "score"))
    _place(_stored(folder, ema), folder, model, noise)
    codec = _codec(folder, tokenizer, graph.vocab_size)
    return Loaded(model.to(device).eval(), graph, noise.to(device).eval(), codec, record)


def load_model(path: str | Path, *, ema: bool = True, device: str = "cpu") -> tuple[ScoreModel, Graph, Noise]:
    """`model, graph, noise = load_model(path)`; `model(x, sigma)` is the log-score. See `load`."""
    return load(path, ema=ema, device=device)[:3]


def find(path: Path) -> Path:
    """The folder meant by a path: itself, or the newest whole checkpoint of the run folder that it is.

    A damaged one of a run folder is named, and the one before it taken. A path that is not there and reads like a hub
    id is fetched.
    """
    if is_hub_id(path):
        path = fetch(str(path), MODEL_FILES)
    if is_original(path):
        return path
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
        raise UserError(
            f"{path} holds no whole checkpoint. {' '.join(damages)} To start a run anew, remove its checkpoints/."
        )
    raise _nothing_at(path)


def check_there(path: Path) -> None:
    """UserError when a path is no hub id and holds nothing that `find` could take; reads nothing."""
    if not (is_hub_id(path) or is_original(path) or (path / MODEL).is_file() or steps(path)):
        raise _nothing_at(path)


def steps(run: Path) -> list[Path]:
    """The checkpoint folders of a run, the newest first."""
    return sorted((f for f in run.glob("checkpoints/step_*") if f.name[5:].isdigit()), reverse=True)


def step_of(folder: Path) -> int:
    """The step of one of these folders."""
    return int(folder.name[5:])


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
    _place(_stored(folder, ema=True), folder, model, noise)


def prune(run: Path, passing: Callable[[int], bool], keep: int) -> None:
    """Remove all but the `keep` newest checkpoints of `passing` steps, and what a kill left half-written."""
    passed = [folder for folder in steps(run) if passing(step_of(folder))]
    for folder in [*passed[keep:], *run.glob("checkpoints/step_*.tmp")]:
        shutil.rmtree(folder, ignore_errors=True)


def _record(folder: Path) -> Record:
    """The record of a folder that `find` gave, whoever wrote it."""
    if is_original(folder):
        return original_record(folder)
    return published_record(folder / CONFIG) if is_published(folder / CONFIG) else Record.read(folder / CONFIG)


def _stored(folder: Path, ema: bool) -> dict[str, Tensor]:
    """The weights in a folder that `find` gave; the averaged ones where they are wanted and there."""
    if is_original(folder):
        return original_weights(folder, ema)
    return _read(folder / (AVERAGE if ema and (folder / AVERAGE).is_file() else MODEL))


def _codec(folder: Path, source: str | Path | None, vocab_size: int) -> Codec | None:
    """The folder's own codec, else that of the source. UserError when both are there, or when it is another's."""
    own = folder / CODEC
    if own.is_file() and source is not None:
        raise UserError(f"{folder} has a tokenizer of its own: leave out the tokenizer {source}.")
    if not own.is_file() and source is None:
        return None
    codec = Codec.load(own) if source is None else read_tokenizer(source)
    if codec.vocab_size != vocab_size:
        raise UserError(
            f"The tokenizer {source or own} has {codec.vocab_size} tokens, but the model in {folder} has "
            f"{vocab_size}: give the one that it was trained with."
        )
    return codec


def _nothing_at(path: Path) -> UserError:
    return UserError(f"{path} {_absence(path)}. Give a run folder (with checkpoints/) or a folder with {MODEL}.")


def _absence(path: Path) -> str:
    """What there is at a path in place of a checkpoint."""
    if not path.exists():
        return "does not exist"
    files = [path] if path.is_file() else sorted(path.iterdir())
    pickles = [file.name for file in files if file.suffix in PICKLES]
    if pickles:
        return f"holds no checkpoint but a pickle ({pickles[0]}), which can hold code and is not read"
    return "is a file" if path.is_file() else "exists, but holds no checkpoint"


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
    _place(_read(file), file, model, noise)


def _read(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"The weights in {file} cannot be read: {error}.") from error


def _place(stored: dict[str, Tensor], source: Path, model: ScoreModel, noise: Noise) -> None:
    """Put weights in place, all of them and nothing else; source: where they are from, for messages."""
    modules: dict[str, nn.Module] = {"noise.": noise, "graph.": model.graph, "": model.backbone}
    for prefix, module in modules.items():
        own = {name: stored.pop(name) for name in list(stored) if name.startswith(prefix)}
        try:
            module.load_state_dict({name.removeprefix(prefix): value for name, value in own.items()})
        except RuntimeError as error:
            first, *others = (line.strip().rstrip(".") for line in str(error).splitlines()[1:])
            more = f" (and {len(others)} more)" if others else ""
            raise UserError(
                f"The weights in {source} do not fit the model of their config: {first}{more}."
            ) from error


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
