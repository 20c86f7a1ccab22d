"""A resolved config as text: every value, and where it was set."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiddle as fdl

from ..plugins import name_of


def resolved(config: fdl.Buildable[Any]) -> str:
    """One line a value, `path = value  # where it was set`, defaults included."""
    lines = list(_lines(config, ""))
    width = max(len(left) for left, _ in lines)
    return "\n".join(f"{left:<{width}}  # {where}" for left, where in lines)


def _lines(config: fdl.Buildable[Any], path: str) -> Iterator[tuple[str, str]]:
    cls: Any = fdl.get_callable(config)
    for name, parameter in inspect.signature(cls).parameters.items():
        here = f"{path}.{name}".lstrip(".")
        if name in config.__arguments__:
            value, where = config.__arguments__[name], _where(config, name)
        elif parameter.default is not parameter.empty:
            value, where = parameter.default, "default"
        else:
            value, where = "(the run fills this in)" if isinstance(config, fdl.Partial) else "(to be set)", "default"
            yield f"{here} = {value}", where
            continue
        if isinstance(value, fdl.Buildable):
            inner: Any = fdl.get_callable(value)
            yield f"{here} = {name_of(inner) or inner.__name__}", where
            yield from _lines(value, here)
        else:
            yield f"{here} = {value!r}", where


def _where(config: fdl.Buildable[Any], name: str) -> str:
    location = config.__argument_history__[name][-1].location
    if location.line_number == 0:
        return location.filename
    file = Path(location.filename)
    return (
        f"{file.name if not file.is_relative_to(Path.cwd()) else file.relative_to(Path.cwd())}:{location.line_number}"
    )
