"""Configs as text: every value with its origin, its history or its description."""

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
from .settings import Sizes, annotation, is_stage, may_be_none, stage_of_items, values_of
from .tags import tagged

WIDEST = 100
"""Number of characters above which a value, such as a model's config as JSON, does not widen the column of values."""


def resolved(config: fdl.Buildable[Any]) -> str:
    """Every value, defaults included, one per line: `path = value  # origin`."""
    lines = list(_lines(config, ""))
    width = max((len(left) for left, _ in lines if len(left) <= WIDEST), default=0)
    return "\n".join(f"{left:<{width}}  # {origin}" for left, origin in lines)


def difference(one: fdl.Buildable[Any], other: fdl.Buildable[Any]) -> str:
    """The differences between two configs: `- path = value  # origin` for the first, `+` for the second."""
    left, right = dict(_lines_by_path(one)), dict(_lines_by_path(other))
    lines = []
    for path in [*left, *(path for path in right if path not in left)]:
        if path not in left or path not in right or left[path][0] != right[path][0]:
            lines += [f"- {left[path][0]}  # {left[path][1]}"] if path in left else []
            lines += [f"+ {right[path][0]}  # {right[path][1]}"] if path in right else []
    return "\n".join(lines) or "no difference"


def _lines_by_path(config: fdl.Buildable[Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    for text, origin in _lines(config, ""):
        yield text.partition(" = ")[0], (text, origin)


def location_of(config: fdl.Buildable[Any], path: str) -> str:
    """The origin of the value at a path; "" for an unknown path, a default or a group."""
    *parents, name = path.split(".")
    owner: Any = config
    for parent in parents:
        owner = owner.__arguments__.get(parent) if isinstance(owner, fdl.Buildable) else None
    if not isinstance(owner, fdl.Buildable) or isinstance(owner.__arguments__.get(name, config), fdl.Buildable):
        return ""
    return _origin(owner, name)


def with_history(config: fdl.Buildable[Any]) -> str:
    """Every value like `resolved`, each followed by the values that it replaced, latest first."""
    lines = []
    for line, (owner, name) in zip(resolved(config).splitlines(), _arguments(config), strict=True):
        lines.append(line)
        entries = values_of(owner, name)[-2::-1]
        lines += [f"    before: {_short(entry.new_value)}  # {_location(entry)}" for entry in entries]
    return "\n".join(lines)


def settable(config: fdl.Buildable[Any], sizes: Sizes = lambda stage: {}) -> str:
    """Every setting with value, type, default and description; for stages the variants; then the tags.

    Args:
        config: Config of the run.
        sizes: Named sizes of a stage.
    """
    lines = []
    for line, (owner, name) in zip(resolved(config).splitlines(), _arguments(config), strict=True):
        path, _, value = line.partition("  # ")[0].partition(" = ")
        inner = owner.__arguments__.get(name)
        description = meanings(_class(owner)).get(name, "")
        if isinstance(inner, fdl.Buildable):
            description = first_sentence(_class(inner))
        several = stage_of_items(owner, name)
        if several:
            kind = f"tuple of {', '.join([*variants(several), *sizes(several)])}"
        elif is_stage(owner, name):
            none = ["None"] if may_be_none(owner, name) else []
            kind = f"one of {', '.join([*variants(name), *sizes(name), *none])}"
        elif isinstance(inner, fdl.Buildable):
            kind = "group"
        else:
            kind = describe_type(annotation(owner, name)) + _default(owner, name)
        lines.append(f"{path} = {value.strip()}   ({kind})")
        lines += [f"    {description}"] if description else []
    tags = [f"{tag}: {', '.join(paths)}" for tag, paths in sorted(tagged(config).items())]
    return "\n".join([*lines, "Tags for --fdl_tags_set=TAG=value:", *(f"    {tag}" for tag in tags)])


def _class(config: fdl.Buildable[Any]) -> Any:
    return fdl.get_callable(config)


def _default(owner: fdl.Buildable[Any], name: str) -> str:
    default = inspect.signature(fdl.get_callable(owner)).parameters[name].default
    return "" if default is inspect.Parameter.empty else f"; default {default!r}"


def _arguments(config: fdl.Buildable[Any]) -> Iterator[tuple[fdl.Buildable[Any], str]]:
    """The owner and the name of the argument in each line of `resolved`."""
    for name in inspect.signature(fdl.get_callable(config)).parameters:
        yield config, name
        for _, inner in _inner(config.__arguments__.get(name)):
            yield from _arguments(inner)


def _inner(value: Any) -> list[tuple[str, fdl.Buildable[Any]]]:
    """The configs in a value, with the ends of their paths: itself, or the items of a tuple."""
    if isinstance(value, fdl.Buildable):
        return [("", value)]
    items = enumerate(value) if isinstance(value, tuple) else ()
    return [(f"[{index}]", item) for index, item in items if isinstance(item, fdl.Buildable)]


def _short(value: Any) -> str:
    if isinstance(value, fdl.Buildable):
        cls: Any = fdl.get_callable(value)
        return name_of(cls) or cls.__name__
    if _inner(value):
        return f"({', '.join(map(_short, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _lines(config: fdl.Buildable[Any], path: str) -> Iterator[tuple[str, str]]:
    """`path = value` and origin of every argument, depth first."""
    cls: Any = fdl.get_callable(config)
    for name, parameter in inspect.signature(cls).parameters.items():
        inner_path = f"{path}.{name}".lstrip(".")
        if name in config.__arguments__:
            value, origin = config.__arguments__[name], _origin(config, name)
        elif parameter.default is not parameter.empty:
            value, origin = parameter.default, "default"
        else:
            yield (
                f"{inner_path} = {'(set by the run)' if isinstance(config, fdl.Partial) else '(required)'}",
                "default",
            )
            continue
        yield f"{inner_path} = {_short(value)}", origin
        for end, inner in _inner(value):
            yield from _lines(inner, f"{inner_path}{end}")


def _origin(config: fdl.Buildable[Any], name: str) -> str:
    return _location(values_of(config, name)[-1])


def _location(entry: Any) -> str:
    if entry.location.line_number == 0:
        return str(entry.location.filename)
    file = Path(entry.location.filename)
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file.name
    return f"{shown}:{entry.location.line_number}"
