"""Conversion between Fiddle configs and record nodes."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import replace
from typing import Any

import fiddle as fdl
from fiddle import history

from .. import runs  # noqa: F401 - records name its classes
from ..build.build import class_of, is_late_bound
from ..build.trust import file_node
from ..errors import UserError
from ..record.node import Node
from ..record.recordable import recordable_classes
from ..registry.installed import installed, variants
from ..registry.plugins import name_of, plugin
from ..registry.table import STAGES

history.add_exclude_location("sedd_core/cli/config.py")  # a value's origin is the experiment's line, not `stage`


def stage(name: str, /, **arguments: Any) -> fdl.Buildable[Any]:
    """The config of a plugin: `stage("noise_loglinear", eps=1e-3)`.

    Args:
        name: Public name of the plugin.
        **arguments: Arguments of its class.

    Returns:
        An `fdl.Config`; an `fdl.Partial` for a graph or a model, whose remaining arguments the run supplies.

    Raises:
        UserError: The plugin is not installed.
    """
    return buildable(plugin(name), arguments)


def buildable(cls: type, arguments: dict[str, Any]) -> fdl.Buildable[Any]:
    """The config of a class: an `fdl.Partial` if the run supplies some of its arguments, else an `fdl.Config`."""
    return (fdl.Partial if is_late_bound(cls) else fdl.Config)(cls, **arguments)


def node_of(value: Any, path: str = "") -> Any:
    """The record node of a config, or the stored form of a value in one.

    Args:
        value: Config or value.
        path: Path of the value, for messages.

    Raises:
        UserError: The value cannot be stored in a record.
    """
    if isinstance(value, fdl.Buildable):
        return _node_of_buildable(value, path)
    if isinstance(value, tuple):
        return tuple(node_of(item, f"{path}[{i}]") for i, item in enumerate(value))
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{path} is {value}; a record contains finite numbers only.")
    if isinstance(value, str):
        _check_not_stage_name(value, path)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    hint = ": use a tuple" if isinstance(value, list) else ", which cannot be stored in a record"
    raise UserError(
        f"{path} is a {type(value).__name__}{hint}. Configs contain stages, core classes, tuples and scalars."
    )


def _check_not_stage_name(text: str, path: str) -> None:
    """UserError for `run.sampler = "euler"` or in a tuple, which works on the command line only."""
    name = re.sub(r"s\[\d+\]$", "", path.rpartition(".")[2])
    if name in STAGES and (full := text if text.startswith(f"{name}_") else f"{name}_{text}") in installed():
        raise UserError(f"{path} is the str '{text}'; write a stage as stage(\"{full}\").")


def config_of(value: Any, path: str = "") -> Any:
    """The config of a record node, or the value of a stored one: the inverse of `node_of`.

    Args:
        value: Node or stored value.
        path: Path of the value, for messages.

    Raises:
        UserError: The node names a class that records may not name.
    """
    if not isinstance(value, Node):
        return value
    return buildable(class_of(value, path), value.map_args(config_of, path))


def _node_of_buildable(config: fdl.Buildable[Any], path: str) -> Node:
    cls: Any = fdl.get_callable(config)
    node = _call_of(cls, path, isinstance(config, fdl.Partial))
    missing = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if isinstance(config, fdl.Config) and parameter.default is parameter.empty and name not in config.__arguments__
    ]
    if missing:
        missing_path, known = f"{path}.{missing[0]}".lstrip("."), variants(missing[0])
        one_of = f" (installed: {', '.join(known)})" if known else ""
        raise UserError(f"{missing_path} must be set: --fdl_set={missing_path}=...{one_of}")
    arguments = {str(name): node_of(v, f"{path}.{name}".lstrip(".")) for name, v in config.__arguments__.items()}
    return replace(node, args=arguments)


def _call_of(cls: Any, path: str, is_partial: bool) -> Node:
    """The node of a class, without arguments. UserError for a class that records may not name."""
    name = name_of(cls) if inspect.isclass(cls) else None
    if name is not None:
        return Node("plugin", name)
    if recordable_classes().get(getattr(cls, "__name__", "")) is cls:
        return Node("core", cls.__name__)
    node = file_node(cls) if inspect.isclass(cls) else None
    if node is not None and is_partial == is_late_bound(cls):
        return node
    if node is not None:
        raise UserError(f"{path} must be an fdl.{'Partial' if is_late_bound(cls) else 'Config'} of {cls.__qualname__}.")
    raise UserError(
        f"{path or 'The experiment'} is a {cls.__qualname__}; it must be a class of a plugin or of sedd_core, or a "
        "stage class defined in the experiment's file."
    )
