"""Conversion of values to annotated types: lossless conversions only, others are errors."""

from __future__ import annotations

import types
from functools import partial
from typing import Any, Literal, Union, get_args, get_origin


def coerce(value: Any, annotation: Any) -> Any:
    """Convert a value to an annotated type without loss.

    Args:
        value: Value to convert.
        annotation: Type, as from `typing.get_type_hints`.

    Returns:
        The value itself, or its lossless conversion: int to float, integral float to int, list or
            single item to tuple.

    Raises:
        TypeError: The value has another type.
    """
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
            return tuple(coerce(item, arguments[0]) for item in items)
        if len(items) == len(arguments):
            return tuple(coerce(item, kind) for item, kind in zip(items, arguments, strict=True))
    elif annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _float(value)
    elif annotation is int and isinstance(value, float) and value.is_integer():
        return int(value)
    elif annotation in (None, type(None)):
        if value is None:
            return value
    elif annotation in (int, bool, str):
        if type(value) is annotation:
            return value
    elif origin is partial:  # a stage with arguments that the run binds late
        if isinstance(value, partial) and isinstance(value.func, type) and issubclass(value.func, arguments[0]):
            return value
    elif isinstance(value, origin or annotation):  # a stage, a group of settings
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
            return coerce(value, annotation)
        except TypeError:
            continue
    raise TypeError


def describe_type(annotation: Any) -> str:
    """A type as shown in messages and help texts: `int`, `one of 'a', 'b'`, `tuple of str`.

    Args:
        annotation: Type, as from `typing.get_type_hints`.
    """
    if annotation is type(None):
        return "None"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(describe_type(argument) for argument in arguments)
    if origin is partial:
        return describe_type(arguments[0])
    if origin is tuple and Ellipsis not in arguments:
        return f"tuple ({', '.join(map(describe_type, arguments))})"
    if origin is tuple:
        return f"tuple of {describe_type(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))
