"""Parsing of command-line text to values of annotated types."""

from __future__ import annotations

import ast
from typing import Any, Literal, get_args, get_origin

from ..build.types import coerce, describe_type
from ..errors import UserError, nearest


def parse_value(text: str, annotation: Any, path: str) -> Any:
    """Parse text to a value of a type.

    Args:
        text: Text to parse.
        annotation: Type of the value; a str takes any text.
        path: Path of the setting, for messages.

    Raises:
        UserError: The text has another type.
    """
    several = wants_tuple(annotation)
    value = _listed(text, path) if several and text[:1] in ("(", "[") else _literal(text)
    wrong_items = several and isinstance(value, tuple | list)
    for candidate in (value,) if wrong_items else (value, text):  # the text itself: a str that looks like a number
        try:
            return coerce(candidate, annotation)
        except TypeError:
            continue
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    hint = nearest(text, [str(choice) for choice in choices])
    raise UserError(f"{path} takes {describe_type(annotation)}, not '{text}'.{hint}")


def wants_tuple(annotation: Any) -> bool:
    """Whether a type is a tuple or a union with one."""
    return tuple in [get_origin(kind) for kind in (annotation, *get_args(annotation))]


def _literal(text: str) -> Any:
    """The value of a Python literal, true or false; any other text unchanged."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _listed(text: str, path: str) -> Any:
    """The items of `(a, b)` or `[a, b]`, all bare or all quoted. UserError for unbalanced brackets or quotes."""
    value = _literal(text)
    if value != text:
        return value
    if text[-1] != {"(": ")", "[": "]"}[text[0]] or "'" in text or '"' in text:
        raise UserError(f"{path} cannot be parsed from '{text}': write (a, b), or ('a', 'b') with every item quoted.")
    return tuple(_literal(item.strip()) for item in text[1:-1].split(",") if item.strip())
