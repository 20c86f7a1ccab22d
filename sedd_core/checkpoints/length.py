"""Length of the sequences that a model was trained on."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any

from ..build.build import class_of
from ..errors import UserError
from ..record.limits import MOST_LENGTH
from ..record.node import Node
from ..record.record import Record


def trained_length(record: Record) -> int | None:
    """Length of the sequences that a model was trained on.

    The class of the data is not required: its code may be missing or untrusted. Records of earlier versions omit a
    length that equals the class's default; for these, the default is looked up if the class can be loaded.

    Args:
        record: Record of a run or of a published model.

    Returns:
        Number of tokens per sequence; None if the record does not state it.

    Raises:
        UserError: The stated length is not a valid sequence length.
    """
    arguments = record.run.args
    if "data" in arguments:
        node = record.node("data")
        arguments = {"length": record.length} if record.length else node.args
        if "length" not in arguments:
            with suppress(UserError):
                arguments = _defaults(node)
    length = arguments.get("length")
    if length is not None and not (type(length) is int and 1 <= length <= MOST_LENGTH):
        raise UserError(
            f"The record is damaged: its training length is {length!r}; it must be an int from 1 to "
            f"{MOST_LENGTH:,} (tokens)."
        )
    return length


def _defaults(node: Node) -> dict[str, Any]:
    """Default values of the arguments of a node's class."""
    parameters = inspect.signature(class_of(node)).parameters
    return {name: p.default for name, p in parameters.items() if p.default is not p.empty}
