"""`name` and `name(argument=value)` as they are written on the command line."""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import UserError, nearest
from .values import parse_value


class Call(NamedTuple):
    """A name and the texts of its arguments."""

    name: str
    arguments: dict[str, str]


def parse_call(text: str, what: str) -> Call:
    """Read `name` or `name(argument=value, ...)`; `what` is said in the UserError for anything else."""
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
    raise UserError(f"{what}, not '{text}': write a name, or name(argument=value, ...) in quotes.")


def typed_arguments(function: Callable[..., Any], texts: dict[str, str], path: str, skip: int = 0) -> dict[str, Any]:
    """The arguments' values, of the types that the function states; the first `skip` of them are not to be given.

    UserError for an unknown name or another type.
    """
    known = list(inspect.signature(function).parameters)[skip:]
    hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    for name in texts:
        if name not in known:
            its = ", ".join(known) or "none"
            raise UserError(f"{path} has no argument '{name}'.{nearest(name, known)} It has: {its}.")
    return {name: parse_value(text, hints.get(name, Any), f"{path}.{name}") for name, text in texts.items()}
