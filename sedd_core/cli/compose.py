"""Composition of runs from an experiment and its settings: one run, or each combination of a sweep."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import fiddle as fdl

from ..build.build import build
from ..console import say
from ..errors import UserError
from ..files import expanded
from ..record.node import Node
from ..runs.run import Run
from .config import node_of
from .experiment import call_in, load_config, named_sizes
from .settings import COMMAND_LINE, apply, forget_late_bound, takes_tuple
from .show import location_of
from .tags import add_tags, set_tagged

MAX_NAME_LENGTH = 150
"""Maximum length of a folder's name, in characters."""


@dataclass
class Composed:
    """A run that is ready to start."""

    config: fdl.Config[Any]
    """Config of the run, with the origin of each value."""
    node: Node
    """Record node of the run."""
    run: Run
    """The run itself."""
    varied: list[str]
    """Settings that distinguish the run from the others of its sweep: `graph=absorb`."""

    @property
    def label(self) -> str:
        """The varied settings in one line, `graph=absorb,seed=1`; "" for a single run."""
        return ",".join(self.varied)


@dataclass(frozen=True)
class Changes:
    """Changes that the command line makes to an experiment, in the order in which they are applied."""

    fiddlers: Sequence[str] = ()
    """Functions of the experiment's file that modify the config: NAME or NAME(x=1)."""
    tags: Sequence[str] = ()
    """Values by tag: Tag=value."""
    settings: Sequence[str] = ()
    """Settings: path=value; several values, path=a,b, make a sweep."""
    sweep: str = ""
    """Function of the experiment's file that returns the points of a sweep; "" for none."""


def compose(target: str, changes: Changes) -> list[Composed]:
    """Compose every run of a command line, before the first one starts.

    Args:
        target: Experiment or record.
        changes: Changes to it.

    Raises:
        UserError: A run cannot be built, or occurs twice in a sweep.
    """
    composed: list[Composed] = []
    for varied, config in configs(target, changes):
        try:
            node = node_of(config)
            run = build(node)
        except UserError as error:
            raise UserError(f"{error}{_origin(config, str(error))}") from error
        if not isinstance(run, Run):
            raise UserError(
                f"{target} configures a {type(run).__name__}, which is not a run (Train, Sample, Evaluate)."
            )
        new = Composed(config, node, run, varied)
        same = next((one for one in composed if one.node == node), None)
        if same:
            raise UserError(
                f"The sweep contains a run twice: {same.label or 'the experiment'} and {new.label}. Remove one."
            )
        composed.append(new)
    return composed


def configs(target: str, changes: Changes) -> Iterator[tuple[list[str], fdl.Config[Any]]]:
    """The config of every run, with the settings that distinguish it from the others.

    A setting with several values, `graph=absorb,uniform`, makes one run per value; several such settings make one
    run per combination.

    Args:
        target: Experiment or record.
        changes: Changes to it.
    """
    axes = [alternatives(setting) for setting in changes.settings]
    for point, choice in product(_points(target, changes.sweep), product(*axes)):
        varied = [setting for setting, axis in zip(choice, axes, strict=True) if len(axis) > 1]
        yield [*point, *varied], configured(target, replace(changes, settings=[*point, *choice]))


def announcement(target: str, changes: Changes, count: int) -> str:
    """The announcement of a sweep: its varied settings, and how to write a single run instead.

    Args:
        target: Experiment or record.
        changes: Changes to it.
        count: Number of runs.
    """
    config = load_config(target)
    lines = [f"sweep    {count} runs in sequence:"]
    for setting in changes.settings:
        path, values = setting.partition("=")[0], [value.partition("=")[2] for value in alternatives(setting)]
        if len(values) > 1:
            lines.append(f"  {path} is {', then '.join(values)}")
            joined = ", ".join(values)
            if takes_tuple(config, path):
                lines[-1] += f"; to use all of them in one run: '{path}=({joined})'"
            elif all(value.isdigit() for value in values):
                lines[-1] += f"; for a single number, omit the commas: {path}={''.join(values)}"
    if changes.sweep:
        lines.append(f"  points of {changes.sweep}")
    return "\n".join(lines)


def configured(target: str, changes: Changes) -> fdl.Config[Any]:
    """The config of an experiment or record with the changes applied; settings kept in a stage swap are printed.

    Args:
        target: Experiment or record.
        changes: Changes to it, without alternatives.

    Raises:
        UserError: A fiddler returns a value, or a change cannot be applied.
    """
    config = load_config(target)
    for fiddler in changes.fiddlers:
        if call_in(target, fiddler, config) is not None:
            raise UserError(f"{fiddler} returns a value; a fiddler must modify its argument and return None.")
    if target.endswith(".json"):
        forget_late_bound(config, changes.settings)
    add_tags(config)
    for setting in changes.tags:
        set_tagged(config, setting)
    for setting in changes.settings:
        for line in apply(config, setting, lambda stage: named_sizes(target, stage)):
            say(line)
    return config


def _points(target: str, sweep: str) -> list[list[str]]:
    """The settings of each point of a sweep function; one empty point without a function."""
    if not sweep:
        return [[]]
    points = call_in(target, sweep)
    if not (isinstance(points, list | tuple) and points and all(isinstance(point, dict) for point in points)):
        raise UserError(f"{sweep} must return a list of points, {{'path': value, ...}}, not {points!r}.")
    return [[f"{path}={value}" for path, value in point.items()] for point in points]


def folder_names(labels: Sequence[str]) -> list[str]:
    """Unique folder names for labels, short enough for any file system."""
    names: list[str] = []
    for label in labels:
        name = re.sub(r"[^\w.,=+-]+", "_", label)[:MAX_NAME_LENGTH]
        names.append(f"{name}~{len(names)}" if name in names else name)
    return names


def _origin(config: fdl.Config[Any], message: str) -> str:
    """A sentence on where a value was set, for a message that starts with the value's path; "" where unknown."""
    location = location_of(config, re.split(r"[\s\[]", message, maxsplit=1)[0])
    return f" It was set at {location}." if location not in ("", COMMAND_LINE) else ""


def alternatives(setting: str) -> list[str]:
    """Split `path=a,b` into `path=a` and `path=b`.

    Commas in brackets or quotes do not split; neither do those followed by a space (`prompt=Hi, there`), nor those in
    the path of an existing file or folder.
    """
    path, equals, text = setting.partition("=")
    if os.path.exists(expanded(text)):
        return [setting]
    values, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        depth += (character in "([{") - (character in ")]}") if not quote else 0
        if character == "," and not depth and not quote:
            values.append("")
        else:
            values[-1] += character
    if len(values) == 1 or any(value[:1].isspace() for value in values[1:]):
        return [setting]
    return [f"{path}{equals}{value.strip()}" for value in values]
