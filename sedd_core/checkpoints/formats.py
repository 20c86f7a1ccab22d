"""Installed formats: plugins are imported only where the own layout does not match."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..console import say
from ..errors import UserError
from ..registry.installed import variants
from ..registry.plugins import plugin
from ..stages import Format


def format_named(name: str) -> Format:
    """The format of an installed plugin.

    Args:
        name: Variant of the plugin, such as "sedd" for format_sedd.

    Raises:
        UserError: The plugin is not installed, or broken.
    """
    name = name.removeprefix("format_")
    cls = plugin(f"format_{name}")
    try:
        return cls()
    except Exception as error:
        raise UserError(
            f"The plugin 'format_{name}' cannot be used: {_shown(error)}. Fix it or uninstall it."
        ) from error


def installed_formats() -> Iterator[tuple[str, Format]]:
    """The installed formats with their names, in the order of the names; a broken one is reported and passed over."""
    for name in variants("format"):
        try:
            yield name, format_named(name)
        except UserError as error:
            _warn(f"{str(error).rstrip('.')}. It is passed over.")


def matching_formats(path: Path) -> list[tuple[str, Format]]:
    """The installed formats that match a path, with their names; one whose `matches` fails is reported as broken.

    Args:
        path: Folder or file.

    Raises:
        UserError: The user may not read a file there.
    """
    found = []
    for name, one in installed_formats():
        try:
            if one.matches(path):
                found.append((name, one))
        except UserError:
            raise
        except Exception as error:
            _warn(f"The plugin 'format_{name}' is broken: its matches() fails ({_shown(error)}). It is passed over.")
    return found


@cache
def _warn(message: str) -> None:
    """Print a warning, once per process."""
    say(f"warning: {message}")


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
