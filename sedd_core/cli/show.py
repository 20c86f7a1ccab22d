"""A config as text: every value, where it was set, what it was before, and what it is."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiddle as fdl

from ..build.types import describe_type
from ..registry.installed import variants
from ..registry.plugins import name_of
from .meaning import first_sentence, meanings
from .settings import Sizes, annotation, is_stage, may_be_none, values_of
from .tags import tagged


def resolved(config: fdl.Buildable[Any]) -> str:
    """One line a value, `path = value  # where it was set`, defaults included."""
    lines = list(_lines(config, ""))
    width = max(len(left) for left, _ in lines)
    return "\n".join(f"{left:<{width}}  # {where}" for left, where in lines)


def difference(one: fdl.Buildable[Any], other: fdl.Buildable[Any]) -> str:
    """Every path at which two configs differ: `- path = value  # where` of the first, `+` of the second."""
    left, right = dict(_lines_by_path(one)), dict(_lines_by_path(other))
    lines = []
    for path in [*left, *(path for path in right if path not in left)]:
        if path not in left or path not in right or left[path][0] != right[path][0]:
            lines += [f"- {left[path][0]}  # {left[path][1]}"] if path in left else []
            lines += [f"+ {right[path][0]}  # {right[path][1]}"] if path in right else []
    return "\n".join(lines) or "no difference"


def _lines_by_path(config: fdl.Buildable[Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    for text, where in _lines(config, ""):
        yield text.partition(" = ")[0], (text, where)


def location_of(config: fdl.Buildable[Any], path: str) -> str:
    """Where the value at a path was set; nothing for a path that the config has not, a default or a group."""
    *parents, name = path.split(".")
    owner: Any = config
    for parent in parents:
        owner = owner.__arguments__.get(parent) if isinstance(owner, fdl.Buildable) else None
    if not isinstance(owner, fdl.Buildable) or isinstance(owner.__arguments__.get(name, config), fdl.Buildable):
        return ""
    return _where(owner, name)


def with_history(config: fdl.Buildable[Any]) -> str:
    """Like `resolved`, and below each value the ones that it replaced, the latest first."""
    lines = []
    for line, (owner, name) in zip(resolved(config).splitlines(), _places(config), strict=True):
        lines.append(line)
        entries = values_of(owner, name)[-2::-1]
        lines += [f"    before: {_short(entry.new_value)}  # {_location(entry)}" for entry in entries]
    return "\n".join(lines)


def settable(config: fdl.Buildable[Any], sizes: Sizes = lambda stage: {}) -> str:
    """What can be set: each path with value, type, default and a line on what it is; for stages their variants."""
    lines = []
    for line, (owner, name) in zip(resolved(config).splitlines(), _places(config), strict=True):
        path, _, value = line.partition("  # ")[0].partition(" = ")
        held = owner.__arguments__.get(name)
        about = meanings(_class(owner)).get(name, "")
        if isinstance(held, fdl.Buildable):
            about = first_sentence(_class(held))
        if is_stage(owner, name):
            none = ["None"] if may_be_none(owner, name) else []
            kind = f"one of {', '.join([*variants(name), *sizes(name), *none])}"
        elif isinstance(held, fdl.Buildable):
            kind = "a group"
        else:
            kind = describe_type(annotation(owner, name)) + _default(owner, name)
        lines.append(f"{path} = {value.strip()}   ({kind})")
        lines += [f"    {about}"] if about else []
    tags = [f"{tag}: {', '.join(paths)}" for tag, paths in sorted(tagged(config).items())]
    return "\n".join([*lines, "Tags, for --fdl_tags_set=TAG=value:", *(f"    {tag}" for tag in tags)])


def _class(config: fdl.Buildable[Any]) -> Any:
    return fdl.get_callable(config)


def _default(owner: fdl.Buildable[Any], name: str) -> str:
    default = inspect.signature(fdl.get_callable(owner)).parameters[name].default
    return "" if default is inspect.Parameter.empty else f"; default {default!r}"


def _places(config: fdl.Buildable[Any]) -> Iterator[tuple[fdl.Buildable[Any], str]]:
    """The owner and the name of each line of `resolved`."""
    for name in inspect.signature(fdl.get_callable(config)).parameters:
        yield config, name
        inner = config.__arguments__.get(name)
        if isinstance(inner, fdl.Buildable):
            yield from _places(inner)


def _short(value: Any) -> str:
    if isinstance(value, fdl.Buildable):
        cls: Any = fdl.get_callable(value)
        return name_of(cls) or cls.__name__
    return repr(value)


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
    return _location(values_of(config, name)[-1])


def _location(entry: Any) -> str:
    if entry.location.line_number == 0:
        return str(entry.location.filename)
    file = Path(entry.location.filename)
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file.name
    return f"{shown}:{entry.location.line_number}"
