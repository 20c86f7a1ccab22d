"""Fiddle tags: values of a kind, wherever they stand, set at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fiddle as fdl

from ..errors import UserError, nearest
from .hints import parameters
from .settings import apply


class Seed(fdl.Tag):
    """What everything random is a function of."""


class Precision(fdl.Tag):
    """The number format that a network computes in."""


BY_NAME: dict[str, Any] = {"seed": Seed, "precision": Precision}
"""The arguments that carry a tag in every experiment; an experiment adds its own with `fdl.add_tag`."""


def add_tags(config: fdl.Buildable[Any]) -> None:
    """Tag every seed and precision of a config, defaults too."""
    for _, owner in _groups(config, ""):
        for name, tag in BY_NAME.items():
            if name in parameters(owner):
                fdl.add_tag(owner, name, tag)


def tagged(config: fdl.Buildable[Any]) -> dict[str, list[str]]:
    """The paths of each tag's values, by the tag's name."""
    found: dict[str, list[str]] = {}
    for path, owner in _groups(config, ""):
        for name, tags in owner.__argument_tags__.items():
            for tag in tags:
                found.setdefault(tag.__name__, []).append(f"{path}.{name}".lstrip("."))
    return found


def set_tagged(config: fdl.Config[Any], setting: str) -> None:
    """Apply one `Tag=value` to every value of that tag. UserError when the config has none."""
    name, equals, text = setting.partition("=")
    known = tagged(config)
    if not equals or name not in known:
        tags = ", ".join(f"{tag} ({', '.join(paths)})" for tag, paths in sorted(known.items()))
        raise UserError(
            f"'{setting}' sets no tag: write TAG=value.{nearest(name, known)} This config's tags: {tags}."
        )
    for path in known[name]:
        apply(config, f"{path}={text}")


def _groups(config: fdl.Buildable[Any], path: str) -> Iterator[tuple[str, fdl.Buildable[Any]]]:
    """A config and those within it, with their paths."""
    yield path, config
    for name, value in config.__arguments__.items():
        if isinstance(value, fdl.Buildable):
            yield from _groups(value, f"{path}.{name}".lstrip("."))
