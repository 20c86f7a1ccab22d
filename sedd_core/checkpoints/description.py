"""What a checkpoint contains, by its record: no weights are read, and no memory is allocated for them."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from ..build.build import build_part, class_of
from ..build.compare import as_call
from ..console import say
from ..record import Node, Record
from .find import Found, find_checkpoint
from .length import trained_length
from .own import OwnFormat

STAGES = ("graph", "noise", "head", "model")


def main(path: str, format: str | None = None) -> int:
    """Run `python -m sedd_core inspect PATH_OR_ID [FORMAT]`.

    Args:
        path: Checkpoint, as for `find_checkpoint`.
        format: Name of its format; None: the one that matches.

    Returns:
        The exit code.

    Raises:
        UserError: There is no checkpoint, or its description is missing or damaged.
    """
    rows = describe(find_checkpoint(Path(path), format))
    width = max(map(len, rows))
    for name, text in rows.items():
        say(f"{name:<{width}}  {text}")
    return 0


def describe(found: Found) -> dict[str, str]:
    """Describe a checkpoint.

    Args:
        found: The checkpoint and its format.

    Returns:
        Text by name, in the order of display.

    Raises:
        UserError: The description is missing or damaged.
    """
    record, form, tokenizer = found.record(), found.format, found.tokenizer()
    rows = {"checkpoint": str(found.path), "layout": form.title}
    rows |= {stage: as_call(_with_defaults(record.node(stage))) for stage in STAGES}
    rows |= model_rows(record)
    rows["tokenizer"] = "none in the checkpoint: name one by tokenizer=..." if tokenizer is None else tokenizer.name
    if form.precision:
        rows["published figures"] = f"computed in {form.precision}"
    return rows


def model_rows(record: Record) -> dict[str, str]:
    """Sizes of the model of a record: name to text.

    Args:
        record: Record of a run, or of a model in another layout.

    Raises:
        UserError: The record is damaged.
    """
    with torch.device("meta"):
        graph, backbone = build_part(record, "graph"), build_part(record, "model")
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    mask = "" if graph.mask is None else " and a mask"
    rows = {
        "states": f"{graph.num_states:,}: {graph.vocab_size:,} tokens{mask}",
        "parameters": f"{parameters:,} ({4 * parameters / 2**20:,.1f} MiB in float32)",
    }
    length = trained_length(record)
    return rows if length is None else rows | {"sequence length": f"{length:,} tokens"}


def say_recognized(found: Found) -> None:
    """Print what a checkpoint of another origin was recognized as, once per process.

    Args:
        found: The checkpoint and its format.
    """
    if isinstance(found.format, OwnFormat):
        return
    record = found.record()
    parts = ", ".join(as_call(record.node(stage)) for stage in STAGES)
    _say(f"{found.path} is {found.format.title}: {parts}.")


@cache
def _say(message: str) -> None:
    say(message)


def _with_defaults(node: Node) -> Node:
    """A node with the defaults of the arguments that it omits, which decide how the network is called."""
    parameters = inspect.signature(class_of(node)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return replace(node, args=node.args | {name: value for name, value in defaults.items() if name not in node.args})
