"""From settings to runs that can start: one, or each combination of a sweep."""

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

LONGEST_NAME = 150
"""Characters of a folder's name."""


@dataclass
class Composed:
    """A run, its config and node, and the settings that tell it from the other runs of its sweep: `graph=absorb`."""

    config: fdl.Config[Any]
    node: Node
    run: Run
    varied: list[str]

    @property
    def label(self) -> str:
        """These settings in one line, `graph=absorb,seed=1`; "" for a single run."""
        return ",".join(self.varied)


@dataclass(frozen=True)
class Changes:
    """What the command line makes of an experiment, in the order in which it is applied.

    fiddlers: functions of the experiment's file that change the config. tags: Tag=value. settings: path=value.
    sweep: the function of the experiment's file that gives a sweep's points; "" for none.
    """

    fiddlers: Sequence[str] = ()
    tags: Sequence[str] = ()
    settings: Sequence[str] = ()
    sweep: str = ""


def compose(target: str, changes: Changes) -> list[Composed]:
    """Every run that the command line asks for; all are composed before the first starts."""
    composed: list[Composed] = []
    for varied, config in configs(target, changes):
        try:
            node = node_of(config)
            run = build(node)
        except UserError as error:
            raise UserError(f"{error}{_place(config, str(error))}") from error
        if not isinstance(run, Run):
            raise UserError(f"{target} configures a {type(run).__name__}, which is not a run (Train, Sample).")
        new = Composed(config, node, run, varied)
        same = next((one for one in composed if one.node == node), None)
        if same:
            raise UserError(f"The sweep has one run twice: {same.label or 'the experiment'} and {new.label}.")
        composed.append(new)
    return composed


def configs(target: str, changes: Changes) -> Iterator[tuple[list[str], fdl.Config[Any]]]:
    """The config of every run, with the settings that tell it from the others.

    A setting with several values, `graph=absorb,uniform`, makes a run of each; several such, of each combination.
    """
    axes = [_alternatives(setting) for setting in changes.settings]
    for point, choice in product(_points(target, changes.sweep), product(*axes)):
        varied = [setting for setting, axis in zip(choice, axes, strict=True) if len(axis) > 1]
        yield [*point, *varied], configured(target, replace(changes, settings=[*point, *choice]))


def announcement(target: str, changes: Changes, count: int) -> str:
    """What a sweep is about to run and which commas made it one, with how to mean a single run instead."""
    config = load_config(target)
    lines = [f"sweep    {count} runs, one after the other:"]
    for setting in changes.settings:
        path, values = setting.partition("=")[0], [value.partition("=")[2] for value in _alternatives(setting)]
        if len(values) > 1:
            lines.append(f"  {path} is {', then '.join(values)}")
            joined = ", ".join(values)
            if takes_tuple(config, path):
                lines[-1] += f"; all of them in one run: '{path}=({joined})'"
            elif all(value.isdigit() for value in values):
                lines[-1] += f"; for one number, leave out the commas: {path}={''.join(values)}"
    if changes.sweep:
        lines.append(f"  the points of {changes.sweep}")
    return "\n".join(lines)


def configured(target: str, changes: Changes) -> fdl.Config[Any]:
    """The experiment or record with the changes applied; what a swap of stages kept and dropped is printed."""
    config = load_config(target)
    for fiddler in changes.fiddlers:
        if call_in(target, fiddler, config) is not None:
            raise UserError(f"{fiddler} returns something; a fiddler changes the run that it is given.")
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
    """The settings of each point of a sweep function; a single empty one without."""
    if not sweep:
        return [[]]
    points = call_in(target, sweep)
    if not (isinstance(points, list | tuple) and points and all(isinstance(point, dict) for point in points)):
        raise UserError(f"{sweep} must return a list of points, {{'path': value, ...}}, not {points!r}.")
    return [[f"{path}={value}" for path, value in point.items()] for point in points]


def folder_names(labels: Sequence[str]) -> list[str]:
    """Labels as names of folders, short enough for any disk, and told apart."""
    names: list[str] = []
    for label in labels:
        name = re.sub(r"[^\w.,=+-]+", "_", label)[:LONGEST_NAME]
        names.append(f"{name}~{len(names)}" if name in names else name)
    return names


def _place(config: fdl.Config[Any], message: str) -> str:
    """Where the value was set that a message starts with the path of."""
    place = location_of(config, re.split(r"[\s\[]", message, maxsplit=1)[0])
    return f" It was set at {place}." if place not in ("", COMMAND_LINE) else ""


def _alternatives(setting: str) -> list[str]:
    """`path=a,b` as `path=a` and `path=b`; commas in brackets or quotes do not count.

    One value: a text with a blank after a comma (`prompt=Hi, there`), and the path of a file or folder.
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
