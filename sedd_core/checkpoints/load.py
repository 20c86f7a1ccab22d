"""Loading of models from run folders, checkpoints, and the layouts of installed formats."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..build.build import build_part
from ..build.limits import at_most
from ..errors import UserError
from ..model.score import ScoreModel, move_to
from ..record.record import Record
from ..stages import Graph, Noise
from ..text.codec import Codec
from ..text.tokenizer import read_tokenizer
from .description import say_recognized
from .find import Found, find_checkpoint
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
    """Tokenizer; None if neither the checkpoint nor the caller provides one."""
    record: Record
    """Record of the run."""


def load_checkpoint(
    path: str | Path,
    *,
    ema: bool = True,
    device: str = "cpu",
    tokenizer: str | Path | None = None,
    format: str | None = None,
) -> Loaded:
    """Load a checkpoint for evaluation.

    Args:
        path: Run folder, checkpoint folder, or folder, file or hub id ("louaaron/sedd-small") in the layout of an
            installed format.
        ema: Whether to load the averaged weights; a checkpoint with one set of weights has these loaded always.
        device: Device of the modules.
        tokenizer: Tokenizer for a checkpoint without one, as for `text.tokenizer.read_tokenizer`.
        format: Name of the format to read the path with, such as "sedd"; None: the one that matches.

    Raises:
        UserError: No checkpoint exists at the path, it is damaged or contains more than data, a plugin of its record
            is not installed, or the tokenizer does not fit.
    """
    return load_found(find_checkpoint(Path(path), format), ema=ema, device=device, tokenizer=tokenizer)


def load_found(found: Found, *, ema: bool = True, device: str = "cpu", tokenizer: str | Path | None = None) -> Loaded:
    """Load a checkpoint that has been found; arguments and errors as for `load_checkpoint`."""
    folder = found.path
    say_recognized(found)
    record, stored = found.record(), found.weights(ema)
    _check_size(record, stored, folder)
    graph, noise, backbone = (build_part(record, stage) for stage in ("graph", "noise", "model"))
    if graph.num_states != backbone.head.out_features:
        raise UserError(
            f"The record of {folder} is damaged: its graph has {graph.num_states} states, but its model has "
            f"{backbone.head.out_features}."
        )
    model = ScoreModel(backbone, graph, build_part(record, "head"))
    load_state_into(stored, folder, model, noise)
    codec = _codec(found, tokenizer, graph.vocab_size)
    move_to(device, model, noise)
    return Loaded(model.eval(), graph, noise.eval(), codec, record)


def load_model(
    path: str | Path, *, ema: bool = True, device: str = "cpu", format: str | None = None
) -> tuple[ScoreModel, Graph, Noise]:
    """Load the model, graph and noise schedule of a checkpoint; `model(x, level)` is the log-score.

    Args:
        path: Checkpoint, as for `load_checkpoint`.
        ema: Whether to load the averaged weights.
        device: Device of the network; x and sigma stay on the CPU for a device without float64 (mps).
        format: Name of the format to read the path with, as for `load_checkpoint`.

    Returns:
        The model, the graph and the noise schedule.

    Raises:
        UserError: The checkpoint cannot be loaded (see `load_checkpoint`).
    """
    return load_checkpoint(path, ema=ema, device=device, format=format)[:3]


def load_weights_into(path: Path, model: ScoreModel, noise: Noise, codec: Codec, format: str | None = None) -> None:
    """Initialize a model with the averaged weights of a checkpoint.

    Args:
        path: Checkpoint, as for `find_checkpoint`.
        model: Model to load.
        noise: Noise schedule to load.
        codec: Tokenizer of the training data. If the checkpoint has no tokenizer (a published one), only the number
            of tokens is compared.
        format: Name of the format to read the path with, as for `load_checkpoint`.

    Raises:
        UserError: The weights were trained with another tokenizer, or do not fit.
    """
    found = find_checkpoint(path, format)
    say_recognized(found)
    _check_tokenizer(found, codec)
    load_state_into(found.weights(averaged=True), found.path, model, noise)


def _codec(found: Found, source: str | Path | None, vocab_size: int) -> Codec | None:
    """The checkpoint's tokenizer, else that of the source. UserError if both exist, or if its size is wrong."""
    own = found.tokenizer()
    if own is not None and source is not None:
        raise UserError(f"{found.path} contains its own tokenizer: omit the tokenizer {source}.")
    chosen = own if source is None else source
    if chosen is None:
        return None
    codec = read_tokenizer(chosen).fitted(vocab_size, found.format.added_tokens)
    if codec.vocab_size != vocab_size:
        raise UserError(
            f"The tokenizer {chosen} has {codec.vocab_size} tokens, but the model in {found.path} has "
            f"{vocab_size}: use the tokenizer that the model was trained with."
        )
    return codec


def _check_tokenizer(found: Found, codec: Codec) -> None:
    """UserError if the weights of a checkpoint were trained with another tokenizer."""
    own = found.tokenizer()
    if own is not None:
        difference, remedy = read_tokenizer(own).difference(codec), f"data.tokenizer={own}"
    else:
        size = build_part(found.record(), "graph").vocab_size
        difference = f"the checkpoint's has {size:,} tokens, the data's {codec.vocab_size:,}"
        difference, remedy = None if size == codec.vocab_size else difference, "data.tokenizer=... (published: gpt2)"
    if difference:
        raise UserError(
            f"The tokenizer of init_from={found.path} differs from that of the data: {difference}. Train with the "
            f"checkpoint's tokenizer ({remedy}), or without init_from."
        )


def _check_size(record: Record, stored: dict[str, Tensor], folder: Path) -> None:
    """UserError if the weights do not fit the record's model; checked before any memory is allocated for it."""
    with torch.device("meta"), at_most(2 * len(stored) + 16):
        backbone = build_part(record, "model")
    state = {name: value for name, value in stored.items() if not name.startswith(("noise.", "graph."))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about meta tensors, which are not copied to: only shapes are compared
        load_module(backbone, state, folder)
    states, vocab_size = backbone.head.out_features, record.node("graph").args.get("vocab_size")
    if isinstance(vocab_size, int) and vocab_size > states:
        raise UserError(
            f"The record of {folder} is damaged: its graph has {vocab_size} tokens, but its model has {states} states."
        )
