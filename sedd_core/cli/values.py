"""Text from the command line as values of the type that a constructor asks for."""

from __future__ import annotations

import ast
import types
from typing import Any, Literal, Union, get_args, get_origin

from ..errors import UserError, nearest


def parse(text: str, annotation: Any, path: str) -> Any:
    """The value that `text` stands for, of the annotated type. UserError when it is of another."""
    wants_tuple = tuple in [get_origin(kind) for kind in (annotation, *get_args(annotation))]
    value = _listed(text, path) if wants_tuple and text[:1] in ("(", "[") else _literal(text)
    wrong_items = wants_tuple and isinstance(value, tuple | list)
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
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _listed(text: str, path: str) -> Any:
    """`(a, b)` or `[a, b]`, its items all bare or all quoted. UserError for brackets or quotes left open."""
    value = _literal(text)
    if value != text:
        return value
    if text[-1] != {"(": ")", "[": "]"}[text[0]] or "'" in text or '"' in text:
        raise UserError(f"{path} cannot be read from '{text}': write (a, b), or ('a', 'b') with every text quoted.")
    return tuple(_literal(item.strip()) for item in text[1:-1].split(",") if item.strip())


def _coerce(value: Any, annotation: Any) -> Any:
    """`value`, converted where nothing is lost. TypeError where it is of another type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if origin in (Union, types.UnionType):
        return _first(value, arguments)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
    elif origin is tuple:
        items = value if isinstance(value, tuple | list) else (value,)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_coerce(item, arguments[0]) for item in items)
        if len(items) == len(arguments):
            return tuple(_coerce(item, kind) for item, kind in zip(items, arguments, strict=True))
    elif annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _float(value)
    elif annotation is int and isinstance(value, float) and value.is_integer():
        return int(value)
    elif annotation in (None, type(None)):
        if value is None:
            return value
    elif isinstance(annotation, type) and type(value) is annotation:
        return value
    raise TypeError


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise TypeError from error


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
    if origin is tuple and Ellipsis not in arguments:
        return f"a tuple of {', '.join(map(describe, arguments))}"
    if origin is tuple:
        return f"a tuple, each of them {describe(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))
