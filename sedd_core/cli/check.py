"""`python -m sedd_core check NAME`: the conformance check of an installed plugin, with where to look if it fails."""

from __future__ import annotations

import inspect
import re
import traceback
from pathlib import Path
from typing import Any

from ..console import say
from ..errors import UserError
from ..registry.installed import find_plugin, stage_of_or_none
from ..registry.plugins import plugin
from ..registry.table import contracts
from ..testing import check_plugin
from .values import parse_value

USAGE = """usage: python -m sedd_core check NAME [argument=value ...] [STAGE=PLUGIN ...] [CHECKPOINT ...]

NAME            an installed plugin: graph_absorb
argument=value  arguments of its constructor, small ones: hidden_size=16
STAGE=PLUGIN    plugins of other stages that take part: graph=graph_absorb
CHECKPOINT      examples for a format to read"""


def main(words: list[str]) -> int:
    """Check a plugin and print the result. Returns the exit code: 1 if a property does not hold.

    Args:
        words: Words after `check`.

    Raises:
        UserError: The plugin is not installed or cannot be used, or a word is wrong.
    """
    if not words or words[0].startswith("-"):
        raise UserError(f"check takes the name of a plugin.\n{USAGE}")
    name, *rest = words
    cls, stage = plugin(name), find_plugin(name).name.partition("_")[0]
    parameters = inspect.signature(cls, eval_str=True).parameters
    settings: dict[str, Any] = {}
    partners: dict[str, str] = {}
    for word in rest:
        key, equals, value = word.partition("=")
        if equals and key != stage and stage_of_or_none(key) == key and key not in parameters:
            partners[key] = value if value.startswith(f"{key}_") else f"{key}_{value}"
        elif equals:
            kind = parameters[key].annotation if key in parameters else str  # check_plugin names the known ones
            settings[key] = parse_value(value, kind, key)
    examples = [Path(word) for word in rest if "=" not in word]
    try:
        check_plugin(cls, examples=examples, partners=partners, **settings)
    except UserError:
        raise
    except Exception as error:
        say(f"!! {name}: {explanation(error, cls, stage)}")
        return 1
    say(f"ok {name}: it keeps the contract of the stage {stage}")
    return 0


def explanation(error: Exception, cls: type, stage: str) -> str:
    """What a check found, and which methods of the class to look at.

    Args:
        error: Exception of the check.
        cls: Class of the plugin.
        stage: Stage of the plugin.
    """
    message = str(error)
    if not isinstance(error, AssertionError):
        message = f"{type(error).__name__}: {message}" if message else type(error).__name__
    contract = contracts()[stage]
    public = [name for name in dir(contract) if not name.startswith("_")]
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _file(cls)]
    named = [name for name in public if name in frames or re.search(rf"\b{name}\b", message)]
    own = [name for name in named if name in vars(cls)] or [name for name in public if name in vars(cls)]
    places = [_place(cls, contract, name) for name in own]
    return "\n   ".join([message, *places, f"What each method must return: docs/contracts.md, section {stage}"])


def _place(cls: type, contract: type, name: str) -> str:
    """File, line and meaning of a member of a class."""
    member = inspect.getattr_static(cls, name)
    function = getattr(member, "fget", None) or getattr(member, "__func__", member)
    where = ""
    if inspect.isfunction(function):
        where = f" ({Path(function.__code__.co_filename).name}:{function.__code__.co_firstlineno})"
    meaning = (inspect.getdoc(inspect.getattr_static(contract, name)) or "").partition("\n")[0]
    return f"Look at {cls.__name__}.{name}{where}" + (f": {meaning}" if meaning else "")


def _file(cls: type) -> str:
    try:
        return inspect.getfile(cls)
    except (OSError, TypeError):
        return ""
