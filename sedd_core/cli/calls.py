"""Calls on the command line: `name` or `name(argument=value)`."""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

from ..build.build import argument_types
from ..errors import UserError, nearest
from .values import parse_value


class Call(NamedTuple):
    """A name with unparsed arguments."""

    name: str
    """Name of the function or variant."""
    arguments: dict[str, str]
    """Source text of each argument, by name."""


def parse_call(text: str, expected: str) -> Call:
    """Parse `name` or `name(argument=value, ...)`.

    Args:
        text: Text to parse.
        expected: Beginning of the error message: what takes which name.

    Raises:
        UserError: The text is neither form.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        tree = None
    if isinstance(tree, ast.Name):
        return Call(tree.id, {})
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args:
        named = {keyword.arg: ast.unparse(keyword.value) for keyword in tree.keywords if keyword.arg}
        if len(named) == len(tree.keywords):
            return Call(tree.func.id, named)
    raise UserError(f"{expected}, not '{text}': write a name, or name(argument=value, ...) in quotes.")


def split_calls(text: str, expected: str) -> list[str]:
    """Split `(name, name(argument=value))` into the texts of its items; a single item needs no brackets.

    Args:
        text: Text to split.
        expected: Beginning of the error message: what takes which names.

    Raises:
        UserError: The text is not a Python expression.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise UserError(f"{expected}, not '{text}': write (a, b) or (a, b(argument=value)) in quotes.") from None
    return [ast.unparse(item) for item in (tree.elts if isinstance(tree, ast.Tuple | ast.List) else [tree])]


def typed_arguments(function: Callable[..., Any], texts: dict[str, str], path: str, skip: int = 0) -> dict[str, Any]:
    """Parse arguments to the types of a function's annotations.

    Args:
        function: Function or class that takes the arguments.
        texts: Source text of each argument, by name.
        path: Prefix of the arguments' names in messages.
        skip: Number of leading parameters that the command line cannot set.

    Raises:
        UserError: An argument is unknown or has the wrong type.
    """
    known = list(inspect.signature(function).parameters)[skip:]
    hints = argument_types(function) if inspect.isclass(function) else typing.get_type_hints(function)
    for name in texts:
        if name not in known:
            listing = ", ".join(known) or "none"
            raise UserError(f"{path} has no argument '{name}'.{nearest(name, known)} It has: {listing}.")
    return {name: parse_value(text, hints.get(name, Any), f"{path}.{name}") for name, text in texts.items()}
