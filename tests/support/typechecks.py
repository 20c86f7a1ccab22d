"""Runtime checks of types and shapes by jaxtyping and beartype: each once for arguments and results of the same kinds.

A check takes 60 microseconds a call, 40% of a small training step; to see that it has been made takes 8.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Hashable
from functools import cache, partial, update_wrapper, wraps
from types import FunctionType
from typing import Any

import jaxtyping
import numpy as np
import torch

Function = Callable[..., Any]
jaxtyped = jaxtyping.jaxtyped


class UnknownKindError(Exception):
    """A value whose content decides whether it fits: a list or the like, which is checked each time."""


def kind(value: object) -> Hashable:
    """What of a value decides whether it fits an annotation: type, dtype and shape; a short text itself (`Literal`).

    Raises:
        UnknownKindError: The value is a list or the like.
    """
    if isinstance(value, torch.Tensor | np.ndarray):
        return type(value), value.dtype, value.shape
    if isinstance(value, tuple):
        return type(value), *map(kind, value)
    if isinstance(value, str):
        return value if len(value) < 32 else str
    if isinstance(value, type):
        return value
    if isinstance(value, Collection):
        raise UnknownKindError
    return type(value)


def kinds(*values: object) -> Hashable:
    """The kinds of values; None if one has none."""
    try:
        return tuple(map(kind, values))
    except UnknownKindError:
        return None


def returning(function: Function, result: list[Any]) -> Function:
    """A function with the annotations of another that only returns the last of `result`."""

    def pop(*_: Any, **__: Any) -> Any:
        return result.pop()

    return update_wrapper(FunctionType(pop.__code__, function.__globals__, closure=pop.__closure__), function)


def jaxtyped_once_per_kind(*, typechecker: Callable[[Function], Function]) -> Callable[[Any], Any]:
    """`jaxtyping.jaxtyped` as the import hook calls it; classes and properties are checked each time."""

    def decorate(function: Any) -> Any:
        check = partial(jaxtyped, typechecker=typechecker)
        return once_per_kind(function, check) if inspect.isfunction(function) else check(function)

    return decorate


def once_per_kind(function: Function, check: Callable[[Function], Function]) -> Function:
    """A function that checks its arguments and its result, unless others of the same kinds have passed.

    Args:
        function: The function itself.
        check: Makes of a function one that is checked in every call.
    """
    result: list[Any] = []
    passed: dict[Hashable, set[Hashable]] = {}
    checked = cache(lambda: check(function))  # made when first called: most functions of a module are not
    checked_return = cache(lambda: check(returning(function, result)))

    @wraps(function)
    def once(*args: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        if torch.compiler.is_compiling():  # checks are not part of what is compiled
            return function(*args, **named)
        given = kinds(*args, *named.items())
        if given is None:
            return checked()(*args, **named)
        if given not in passed:
            out = checked()(*args, **named)
            passed[given] = set()
        else:
            out = function(*args, **named)
        found = kinds(out)
        if found is None or found not in passed[given]:
            result.append(out)
            checked_return()(*args, **named)
            passed[given].add(found)
        return out

    return once
