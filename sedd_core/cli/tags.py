"""Fiddle tags: one assignment to all settings of a kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fiddle as fdl

from ..errors import UserError, nearest
from .hints import parameters
from .settings import apply


class Seed(fdl.Tag):
    """Random seed."""


class Precision(fdl.Tag):
    """Number format of a network's computation."""


BY_NAME: dict[str, Any] = {"seed": Seed, "precision": Precision}
"""Tag of each argument that is tagged in every experiment; an experiment adds others with `fdl.add_tag`."""


def add_tags(config: fdl.Buildable[Any]) -> None:
    """Tag every seed and precision of a config in place, including defaults."""
    for _, owner in _groups(config, ""):
        for name, tag in BY_NAME.items():
            if name in parameters(owner):
                fdl.add_tag(owner, name, tag)


def tagged(config: fdl.Buildable[Any]) -> dict[str, list[str]]:
    """The paths of the tagged settings, by tag."""
    found: dict[str, list[str]] = {}
    for path, owner in _groups(config, ""):
        for name, tags in owner.__argument_tags__.items():
            for tag in tags:
                found.setdefault(tag.__name__, []).append(f"{path}.{name}".lstrip("."))
    return found


def set_tagged(config: fdl.Config[Any], setting: str) -> None:
    """Set every setting with a tag, in place.

    Args:
        config: Config of the run.
        setting: `TAG=value`.

    Raises:
        UserError: No setting has the tag, or the value has the wrong type.
    """
    name, equals, text = setting.partition("=")
    known = tagged(config)
    if not equals or name not in known:
        tags = ", ".join(f"{tag} ({', '.join(paths)})" for tag, paths in sorted(known.items()))
        raise UserError(
            f"'{setting}' does not set a tag: write TAG=value.{nearest(name, known)} Tags of this config: {tags}."
        )
    for path in known[name]:
        apply(config, f"{path}={text}")


def _groups(config: fdl.Buildable[Any], path: str) -> Iterator[tuple[str, fdl.Buildable[Any]]]:
    """A config and all configs within it, with their paths."""
    yield path, config
    for name, value in config.__arguments__.items():
        if isinstance(value, fdl.Buildable):
            yield from _groups(value, f"{path}.{name}".lstrip("."))
