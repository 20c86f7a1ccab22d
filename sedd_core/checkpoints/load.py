"""Loading of models from run folders, checkpoints, published models, and run folders of the original."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..build.build import build, construct
from ..build.limits import at_most
from ..errors import UserError
from ..model.score import ScoreModel, move_to
from ..record.record import Record
from ..registry.table import contracts
from ..stages import Graph, Noise
from ..text.codec import Codec
from ..text.tokenizer import read_tokenizer
from .find import PUBLISHED, find_checkpoint
from .folder import AVERAGE, CODEC, CONFIG, MODEL
from .original import is_original, original_record, original_weights
from .published import is_published, published_record
from .tensors import read_weights
from .weights import load_module, load_state_into


class Loaded(NamedTuple):
    """A loaded checkpoint, ready for evaluation."""

    model: ScoreModel
    """Network with its score head, in evaluation mode."""
    graph: Graph
    """Graph of the forward process."""
    noise: Noise
    """Noise schedule."""
    codec: Codec | None
    """Tokenizer; None if neither the checkpoint (a published one) nor the caller provides one."""
    record: Record
    """Record of the run."""


def load_checkpoint(
    path: str | Path, *, ema: bool = True, device: str = "cpu", tokenizer: str | Path | None = None
) -> Loaded:
    """Load a checkpoint for evaluation.

    Args:
        path: Run folder, checkpoint folder, folder or hub id ("louaaron/sedd-small") in the published layout, or run
            folder of the original.
        ema: Whether to load the averaged weights; a published model has one set of weights, which is always loaded.
        device: Device of the modules.
        tokenizer: Tokenizer for a checkpoint without one, as for `text.tokenizer.read_tokenizer`.

    Raises:
        UserError: No checkpoint exists at the path, it is damaged or contains more than data, a plugin of its record
            is not installed, or the tokenizer does not fit.
    """
    folder = find_checkpoint(Path(path))
    record = _record(folder)
    stored = _stored(folder, ema)
    _check_size(record, stored, folder)
    graph, noise, backbone = (_part(record, stage) for stage in ("graph", "noise", "model"))
    if graph.num_states != backbone.head.out_features:
        raise UserError(
            f"The record of {folder} is damaged: its graph has {graph.num_states} states, but its model has "
            f"{backbone.head.out_features}."
        )
    model = ScoreModel(backbone, graph, _part(record, "head"))
    load_state_into(stored, folder, model, noise)
    codec = _codec(folder, tokenizer, graph.vocab_size)
    move_to(device, model, noise)
    return Loaded(model.eval(), graph, noise.eval(), codec, record)


def load_model(path: str | Path, *, ema: bool = True, device: str = "cpu") -> tuple[ScoreModel, Graph, Noise]:
    """Load the model, graph and noise schedule of a checkpoint; `model(x, level)` is the log-score.

    Args:
        path: Checkpoint, as for `load_checkpoint`.
        ema: Whether to load the averaged weights.
        device: Device of the network; x and sigma stay on the CPU for a device without float64 (mps).

    Returns:
        The model, the graph and the noise schedule.

    Raises:
        UserError: The checkpoint cannot be loaded (see `load_checkpoint`).
    """
    return load_checkpoint(path, ema=ema, device=device)[:3]


def load_weights_into(path: Path, model: ScoreModel, noise: Noise, codec: Codec) -> None:
    """Initialize a model with the averaged weights of a checkpoint.

    Args:
        path: Checkpoint, as for `find_checkpoint`.
        model: Model to load.
        noise: Noise schedule to load.
        codec: Tokenizer of the training data. If the checkpoint has no tokenizer (a published one), only the number
            of tokens is compared.

    Raises:
        UserError: The weights were trained with another tokenizer, or do not fit.
    """
    folder = find_checkpoint(path)
    _check_tokenizer(folder, codec)
    load_state_into(_stored(folder, ema=True), folder, model, noise)


def _record(folder: Path) -> Record:
    """Record of a folder from `find_checkpoint`, in any of the layouts."""
    if is_original(folder):
        return original_record(folder)
    return published_record(folder / CONFIG) if is_published(folder / CONFIG) else Record.read(folder / CONFIG)


def _stored(folder: Path, ema: bool) -> dict[str, Tensor]:
    """Weights in a folder from `find_checkpoint`; the averaged ones if requested and present."""
    if is_original(folder):
        return original_weights(folder, ema)
    names = [*([AVERAGE] if ema else []), MODEL, PUBLISHED]
    return read_weights(next(folder / name for name in names if (folder / name).is_file()))


def _codec(folder: Path, source: str | Path | None, vocab_size: int) -> Codec | None:
    """The checkpoint's tokenizer, else that of the source. UserError if both exist, or if its size is wrong."""
    own = folder / CODEC
    if own.is_file() and source is not None:
        raise UserError(f"{folder} contains its own tokenizer: omit the tokenizer {source}.")
    if not own.is_file() and source is None:
        return None
    codec = Codec.load(own) if source is None else read_tokenizer(source)
    if codec.vocab_size != vocab_size:
        raise UserError(
            f"The tokenizer {source or own} has {codec.vocab_size} tokens, but the model in {folder} has "
            f"{vocab_size}: use the tokenizer that the model was trained with."
        )
    return codec


def _check_tokenizer(folder: Path, codec: Codec) -> None:
    """UserError if the weights in a folder from `find_checkpoint` were trained with another tokenizer."""
    own = folder / CODEC
    if own.is_file():
        difference, remedy = Codec.load(own).difference(codec), f"data.tokenizer={own}"
    else:
        size = _part(_record(folder), "graph").vocab_size
        difference = f"the checkpoint's has {size:,} tokens, the data's {codec.vocab_size:,}"
        difference, remedy = None if size == codec.vocab_size else difference, "data.tokenizer=... (published: gpt2)"
    if difference:
        raise UserError(
            f"The tokenizer of init_from={folder} differs from that of the data: {difference}. Train with the "
            f"checkpoint's tokenizer ({remedy}), or without init_from."
        )


def _check_size(record: Record, stored: dict[str, Tensor], folder: Path) -> None:
    """UserError if the weights do not fit the record's model; checked before any memory is allocated for it."""
    with torch.device("meta"), at_most(2 * len(stored) + 16):
        backbone = _part(record, "model")
    state = {name: value for name, value in stored.items() if not name.startswith(("noise.", "graph."))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about meta tensors, which are not copied to: only shapes are compared
        load_module(backbone, state, folder)
    states, vocab_size = backbone.head.out_features, record.node("graph").args.get("vocab_size")
    if isinstance(vocab_size, int) and vocab_size > states:
        raise UserError(
            f"The record of {folder} is damaged: its graph has {vocab_size} tokens, but its model has "
            f"{states} states."
        )


def _part(record: Record, name: str) -> Any:
    """Build a stage of the run. UserError if the record has an object of another type there."""
    built = build(record.node(name), name)
    part = construct(built.func, built.keywords, name) if isinstance(built, partial) else built
    expected = contracts()[name]
    if not isinstance(part, expected):
        raise UserError(f"The record is damaged: its {name} is a {type(part).__name__}, not a {expected.__name__}.")
    return part
