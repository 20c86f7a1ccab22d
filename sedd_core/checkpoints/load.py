"""Models by the path of whatever holds one: a run, a checkpoint, a published model, a run of the original's."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..build.build import build, construct
from ..build.limits import at_most
from ..console import say
from ..errors import UserError
from ..files import check_readable, expanded
from ..model.score import ScoreHead, ScoreModel, move_to
from ..record.record import Record
from ..registry.table import contracts
from ..stages import Graph, Noise
from ..text.codec import Codec
from ..text.hub import fetch, is_hub_id
from ..text.tokenizer import read_tokenizer
from .folder import AVERAGE, CODEC, CONFIG, MODEL, find_damage, steps
from .original import CONFIG as HYDRA
from .original import is_original, original_record, original_weights
from .published import is_published, published_record
from .tensors import SAVED, read_weights
from .weights import load_module, load_state_into

MODEL_FILES = ("config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json")
PUBLISHED = "pytorch_model.bin"
"""Where a published model without model.safetensors has its weights."""


class Loaded(NamedTuple):
    """A checkpoint's contents; `codec` is None where it has none (a published one) and none was given."""

    model: ScoreModel
    graph: Graph
    noise: Noise
    codec: Codec | None
    record: Record


def load_checkpoint(
    path: str | Path, *, ema: bool = True, device: str = "cpu", tokenizer: str | Path | None = None
) -> Loaded:
    """The model that a path or a hub id stands for, ready to evaluate.

    path: a run folder, a checkpoint folder, a folder or hub id ("louaaron/sedd-small") in the published layout, or a
    run folder of the original's. ema: the averaged weights (a published file has no others). tokenizer: for a model
    that comes without one: see `tokenizer.read_tokenizer`. Raises UserError when there is no checkpoint, when it is
    damaged or holds more than data, or when a plugin that it names is not installed.
    """
    folder = find_checkpoint(Path(path))
    record = _record(folder)
    stored = _stored(folder, ema)
    _check_size(record, stored, folder)
    graph, noise, backbone = (_part(record, stage) for stage in ("graph", "noise", "model"))
    if graph.num_states != backbone.head.out_features:
        raise UserError(
            f"The record of {folder} is damaged: its graph has {graph.num_states} states, and its model "
            f"{backbone.head.out_features}."
        )
    model = ScoreModel(backbone, graph, _part(record, "score"))
    load_state_into(stored, folder, model, noise)
    codec = _codec(folder, tokenizer, graph.vocab_size)
    move_to(device, model, noise)
    return Loaded(model.eval(), graph, noise.eval(), codec, record)


def load_model(path: str | Path, *, ema: bool = True, device: str = "cpu") -> tuple[ScoreModel, Graph, Noise]:
    """`model, graph, noise = load_model(path)`; `model(x, sigma)` is the log-score. See `load_checkpoint`.

    device: of the network; x and sigma belong on the CPU for one that has no float64 (mps).
    """
    return load_checkpoint(path, ema=ema, device=device)[:3]


def find_checkpoint(path: Path) -> Path:
    """The folder meant by a path: itself, or the newest whole checkpoint of the run folder that it is.

    A damaged one of a run folder is named, and the one before it taken. A path that is not there and reads like a hub
    id is fetched.
    """
    path = expanded(path)
    _check_readable(path)
    if is_hub_id(path):
        path = fetch(path.as_posix(), MODEL_FILES)
    if is_original(path):
        return path
    if _holds_weights(path):
        damage = None if is_published(path / CONFIG) else find_damage(path)
        if damage:
            raise UserError(f"{damage} Use another step of the run.")
        return path
    damages = []
    for folder in steps(path):
        damage = find_damage(folder)
        if damage is None:
            return folder
        damages.append(damage)
        say(f"warning: {damage} The one before it is used, if there is one.")
    if damages:
        raise UserError(
            f"{path} holds no whole checkpoint. {' '.join(damages)} To start a run anew, remove its checkpoints/."
        )
    raise _nothing_at(path)


def check_exists(path: Path) -> None:
    """UserError when a path is no hub id and holds nothing that `find_checkpoint` could take; reads nothing."""
    path = expanded(path)
    _check_readable(path)
    if not (is_hub_id(path) or is_original(path) or _holds_weights(path) or steps(path)):
        raise _nothing_at(path)


def load_weights_into(path: Path, model: ScoreModel, noise: Noise, codec: Codec) -> None:
    """Put the averaged weights of a checkpoint in place.

    Args:
        path: The checkpoint, as for `find_checkpoint`.
        model: The model whose weights are replaced.
        noise: The noise schedule; parameters of its own are replaced too.
        codec: The tokenizer that the model is going to be trained with.

    Raises:
        UserError: The weights were trained with another tokenizer, or do not fit. Of a checkpoint without a
            tokenizer (a published one), only the number of tokens is compared.
    """
    folder = find_checkpoint(path)
    _check_tokenizer(folder, codec)
    load_state_into(_stored(folder, ema=True), folder, model, noise)


def _record(folder: Path) -> Record:
    """The record of a folder that `find_checkpoint` gave, whoever wrote it."""
    if is_original(folder):
        return original_record(folder)
    return published_record(folder / CONFIG) if is_published(folder / CONFIG) else Record.read(folder / CONFIG)


def _stored(folder: Path, ema: bool) -> dict[str, Tensor]:
    """The weights in a folder that `find_checkpoint` gave; the averaged ones where they are wanted and there."""
    if is_original(folder):
        return original_weights(folder, ema)
    names = [*([AVERAGE] if ema else []), MODEL, PUBLISHED]
    return read_weights(next(folder / name for name in names if (folder / name).is_file()))


def _holds_weights(folder: Path) -> bool:
    """Whether a folder is a checkpoint's or a published model's."""
    return any((folder / name).is_file() for name in (MODEL, PUBLISHED))


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


def _check_tokenizer(folder: Path, codec: Codec) -> None:
    """UserError where the weights of a folder that `find_checkpoint` gave were trained with another tokenizer."""
    own = folder / CODEC
    if own.is_file():
        difference, remedy = Codec.load(own).difference(codec), f"data.tokenizer={own}"
    else:
        size = _part(_record(folder), "graph").vocab_size
        difference = f"the one has {size:,} tokens and the other {codec.vocab_size:,}"
        difference, remedy = None if size == codec.vocab_size else difference, "data.tokenizer=... (published: gpt2)"
    if difference:
        raise UserError(
            f"The tokenizer of init_from={folder} is not that of the data: {difference}. Train with the "
            f"checkpoint's tokenizer: {remedy}, or without init_from."
        )


def _check_readable(path: Path) -> None:
    for place in (path, path / HYDRA, path / CONFIG, path / MODEL, path / PUBLISHED, path / "checkpoints"):
        check_readable(place)


def _nothing_at(path: Path) -> UserError:
    return UserError(
        f"{path} {_absence(path)}. Give a run folder (with checkpoints/), a folder with {MODEL} or {PUBLISHED}, or a "
        "hub id (owner/name)."
    )


def _absence(path: Path) -> str:
    """What there is at a path in place of a checkpoint."""
    if not path.exists():
        return "does not exist"
    if path.is_file():
        return "is a file"
    saved = next((file.name for file in sorted(path.iterdir()) if file.suffix in (*SAVED, ".pkl")), None)
    if saved:
        return f"holds {saved}, but no config.json or checkpoint that says what model it is of"
    return "exists, but holds no checkpoint"


def _check_size(record: Record, stored: dict[str, Tensor], folder: Path) -> None:
    """UserError where the weights are not those of the record's model: before memory is taken for what it states."""
    with torch.device("meta"), at_most(2 * len(stored) + 16):
        backbone = _part(record, "model")
    own = {name: value for name, value in stored.items() if not name.startswith(("noise.", "graph."))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing is copied: shapes are what is asked for
        load_module(backbone, own, folder)
    states, vocab_size = backbone.head.out_features, record.node("graph").args.get("vocab_size")
    if isinstance(vocab_size, int) and vocab_size > states:
        raise UserError(
            f"The record of {folder} is damaged: its graph has {vocab_size} tokens, and its model {states} states."
        )


def _part(record: Record, name: str) -> Any:
    """One of the run's stages, or its score head. UserError when the record has another thing in its place."""
    built = build(record.node(name), name)
    part = construct(built.func, built.keywords, name) if isinstance(built, partial) else built
    expected = contracts().get(name, ScoreHead)
    if not isinstance(part, expected):
        raise UserError(f"The record is damaged: its {name} is a {type(part).__name__}, not a {expected.__name__}.")
    return part
