"""Between Fiddle configs and record nodes."""

from __future__ import annotations

import inspect
import math
from typing import Any

import fiddle as fdl
from fiddle import history

from ..errors import UserError
from ..installed import installed
from ..plugins import STAGES, name_of, plugin
from ..record import Node, class_of, recordable_classes, waits
from ..trust import file_node

history.add_exclude_location("sedd_core/cli/config.py")  # a value's place is the experiment's line, not `stage`


def stage(name: str, /, **arguments: Any) -> fdl.Buildable[Any]:
    """A config of a plugin by its public name: `stage("noise_loglinear", eps=1e-3)`.

    A graph or a model is a partial: the run completes it. UserError for a plugin that is not installed.
    """
    return buildable(plugin(name), arguments)


def buildable(cls: type, arguments: dict[str, Any]) -> fdl.Buildable[Any]:
    """The config of a class: a partial where a run completes it."""
    return (fdl.Partial if waits(cls) else fdl.Config)(cls, **arguments)


def node_of(value: Any, path: str = "") -> Any:
    """The record node of a config: names and scalars alone. UserError for anything that a record may not hold."""
    if isinstance(value, fdl.Buildable):
        return _node_of_buildable(value, path)
    if isinstance(value, tuple):
        return {"tuple": [node_of(item, f"{path}[{i}]") for i, item in enumerate(value)]}
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{path} is {value}; a record holds finite numbers only.")
    if isinstance(value, str):
        _check_no_stage(value, path)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    hint = ": use a tuple" if isinstance(value, list) else ", which no record can hold"
    raise UserError(
        f"{path} is a {type(value).__name__}{hint}. Configs hold stages, core classes, tuples and scalars."
    )


def _check_no_stage(text: str, path: str) -> None:
    """UserError for `run.sampler = "euler"`, which works on the command line alone."""
    name = path.rpartition(".")[2]
    if name in STAGES and (full := text if text.startswith(f"{name}_") else f"{name}_{text}") in installed():
        raise UserError(f"{path} is the text '{text}'; a stage is written stage(\"{full}\").")


def config_of(node: Any, path: str = "") -> Any:
    """The config of a record node: `node_of` backwards. UserError for a node that names what a record may not."""
    if isinstance(node, dict) and set(node) == {"tuple"} and isinstance(node["tuple"], list):
        return tuple(config_of(item, f"{path}[{i}]") for i, item in enumerate(node["tuple"]))
    if not isinstance(node, dict):
        return node
    cls = class_of(node, path)
    arguments = {name: config_of(value, f"{path}.{name}".lstrip(".")) for name, value in node["args"].items()}
    return buildable(cls, arguments)


def _node_of_buildable(config: fdl.Buildable[Any], path: str) -> Node:
    cls: Any = fdl.get_callable(config)
    names = _names(cls, path, isinstance(config, fdl.Partial))
    missing = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if isinstance(config, fdl.Config)
        and parameter.default is parameter.empty
        and name not in config.__arguments__
    ]
    if missing:
        where = f"{path}." if path else ""
        raise UserError(f"{where}{missing[0]} must be set: --fdl_set={where}{missing[0]}=...")
    arguments = {str(name): node_of(v, f"{path}.{name}".lstrip(".")) for name, v in config.__arguments__.items()}
    return {**names, "args": arguments}


def _names(cls: Any, path: str, is_partial: bool) -> Node:
    """The node of a class without its arguments. UserError for one that a record may not name."""
    name = name_of(cls) if inspect.isclass(cls) else None
    if name is not None:
        return {"plugin": name}
    if recordable_classes().get(getattr(cls, "__name__", "")) is cls:
        return {"core": cls.__name__}
    node = file_node(cls) if inspect.isclass(cls) else None
    if node is not None and is_partial == waits(cls):
        return node
    if node is not None:
        raise UserError(f"{path} must be an fdl.{'Partial' if waits(cls) else 'Config'} of {cls.__qualname__}.")
    raise UserError(
        f"{path or 'The experiment'} is a {cls.__qualname__}, neither a plugin's class nor the core's, nor a stage's "
        "class of the experiment's own file."
    )
