"""Text from the command line as values of the type that a constructor asks for."""

from __future__ import annotations

import ast
import types
from typing import Any, Literal, Union, get_args, get_origin

from ..errors import UserError, nearest


def parse(text: str, annotation: Any, path: str) -> Any:
    """The value that `text` stands for, of the annotated type. UserError when it is of another."""
    value = _literal(text)
    wrong_items = get_origin(annotation) is tuple and isinstance(value, tuple | list)
    for candidate in (value,) if wrong_items else (value, text):  # the text itself: a name that looks like a number
        try:
            return _coerce(candidate, annotation)
        except TypeError:
            continue
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    hint = nearest(text, [str(choice) for choice in choices])
    raise UserError(f"{path} takes {describe(annotation)}, not '{text}'.{hint}")


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _coerce(value: Any, annotation: Any) -> Any:
    """`value`, converted where nothing is lost. TypeError where it is of another type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if origin in (Union, types.UnionType):
        return _first(value, arguments)
    if origin is Literal:
        if value in arguments:
            return value
    elif origin is tuple:
        items = value if isinstance(value, tuple | list) else (value,)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_coerce(item, arguments[0]) for item in items)
        if len(items) == len(arguments):
            return tuple(_coerce(item, kind) for item, kind in zip(items, arguments, strict=True))
    elif annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif annotation is int and isinstance(value, float) and value.is_integer():
        return int(value)
    elif annotation in (None, type(None)):
        if value is None:
            return value
    elif isinstance(annotation, type) and type(value) is annotation:
        return value
    raise TypeError


def _first(value: Any, annotations: tuple[Any, ...]) -> Any:
    for annotation in annotations:
        try:
            return _coerce(value, annotation)
        except TypeError:
            continue
    raise TypeError


def describe(annotation: Any) -> str:
    """A type in words: "a whole number", "one of 'a', 'b'"."""
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "None"}
    if annotation in names:
        return names[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin is tuple:
        return f"a tuple, each of them {describe(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))
