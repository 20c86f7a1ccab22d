"""Settings from the command line: values, `path.to.value=value`, and variants of stages, `stage=variant`."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable
from typing import Any

import fiddle as fdl
from fiddle import history

from ..build.build import argument_types
from ..console import complain
from ..distributed.rank import prints_shared_messages
from ..errors import UserError, nearest
from ..record.upgrade import RENAMED_PATHS
from ..registry.installed import installed, variants
from ..registry.plugins import name_of, plugin
from ..registry.table import LATE_BOUND, contracts
from .calls import parse_call, split_calls, typed_arguments
from .config import stage
from .hints import check_known, parameters
from .values import parse_value, wants_tuple

Sizes = Callable[[str], dict[str, Callable[..., Any]]]
"""Function from a stage to its named sizes: functions that return its config."""
COMMAND_LINE = "command line"
"""Origin of values that the command line sets."""
_COMMAND_LINE = history.Location(COMMAND_LINE, 0, None)


def apply(config: fdl.Config[Any], setting: str, sizes: Sizes = lambda stage: {}) -> list[str]:
    """Apply a setting to a config in place.

    Args:
        config: Config of the run.
        setting: `path=value`; for a stage, the value is a variant or a named size, with or without arguments; for
            several of a stage, a tuple of these.
        sizes: Named sizes of a stage.

    Returns:
        Lines to print: the arguments that a swap of variants kept and dropped.

    Raises:
        UserError: The setting does not exist, or its value has the wrong type.
    """
    path, equals, text = setting.partition("=")
    if path in RENAMED_PATHS:
        if prints_shared_messages():
            complain(f"warning: the setting {path} has been renamed to {RENAMED_PATHS[path]}; use the new name.")
        path = RENAMED_PATHS[path]
        setting = f"{path}={text}"
    if not equals or not path:
        raise UserError(f"'{setting}' is not a setting: write path=value, e.g. training.steps=100 or sampler=euler.")
    *parents, name = path.split(".")
    owner = _descend(config, parents, setting)
    check_known(config, owner, name, setting)
    current = owner.__arguments__.get(name)
    if is_stage(owner, name) and not (text == "None" and may_be_none(owner, name)):
        return _swap(owner, name, text, sizes(name))
    several = stage_of_items(owner, name)
    if several:
        expected = f"{path} takes variants of the stage {several}"
        items = [_variant(several, item, sizes(several))[0] for item in split_calls(text, expected)]
        _set(owner, name, tuple(items))
        return []
    if isinstance(current, fdl.Buildable) and not is_stage(owner, name):
        inner = ", ".join(f"{path}.{known}" for known in parameters(current))
        raise UserError(f"{path} is a group of settings, not a value. Set one of: {inner}.")
    _set(owner, name, parse_value(text, annotation(owner, name), path))
    return []


def forget_late_bound(config: fdl.Config[Any], settings: Iterable[str]) -> None:
    """Delete the arguments that the run derives from data and graph, if a setting changes either.

    Args:
        config: Config of a record, which is changed in place.
        settings: Settings that will be applied: `path=value`.
    """
    changed = {re.split(r"[.=]", setting)[0] for setting in settings}
    for stage_name, late in LATE_BOUND.items() if changed & {"data", "graph"} else ():
        partial = arguments_of(config).get(stage_name)
        if isinstance(partial, fdl.Buildable):
            for name in set(late) & set(arguments_of(partial)):
                delattr(partial, name)


def first_known(config: fdl.Config[Any], paths: tuple[str, ...], flag: str) -> str:
    """The first of several paths that a config has.

    Args:
        config: Config of the run.
        paths: Paths to try, in order.
        flag: Flag that stands for them, for the message.

    Raises:
        UserError: The config has none of them.
    """
    for path in paths:
        owner: Any = config
        for name in path.split("."):
            known = isinstance(owner, fdl.Buildable) and name in parameters(owner)
            owner = owner.__arguments__.get(name) if known else None
            if not known:
                break
        else:
            return path
    raise UserError(
        f"{flag} does not apply to a {_callable(config).__name__}, which has no setting {' or '.join(paths)}."
    )


def arguments_of(config: fdl.Buildable[Any]) -> dict[str, Any]:
    """The arguments that have been set in a config, by name."""
    return {str(name): value for name, value in config.__arguments__.items()}


def values_of(config: fdl.Buildable[Any], name: str) -> list[Any]:
    """The history entries of an argument's values, latest last, without changes of its tags."""
    entries = config.__argument_history__.get(name, [])
    return [entry for entry in entries if entry.kind is history.ChangeKind.NEW_VALUE]


def annotation(config: fdl.Buildable[Any], name: str) -> Any:
    """The type annotation of an argument; Any without one."""
    return argument_types(_callable(config)).get(name, Any)


def takes_tuple(config: fdl.Buildable[Any], path: str) -> bool:
    """Whether the setting at a path takes a tuple; False for an unknown path."""
    *parents, name = path.split(".")
    try:
        owner = _descend(config, parents, path)
    except UserError:
        return False
    return wants_tuple(annotation(owner, name))


def is_stage(owner: fdl.Buildable[Any], name: str) -> bool:
    """Whether an argument is a stage of a run."""
    hint = annotation(owner, name)
    return contracts().get(name) in (hint, *typing.get_args(hint))


def stage_of_items(owner: fdl.Buildable[Any], name: str) -> str | None:
    """The stage of the items of an argument that is a tuple of stages, such as `monitors`; None for any other."""
    hint = annotation(owner, name)
    items = typing.get_args(hint) if typing.get_origin(hint) is tuple else ()
    return next((stage_name for stage_name, contract in contracts().items() if contract in items), None)


def may_be_none(owner: fdl.Buildable[Any], name: str) -> bool:
    """Whether an argument may be None."""
    return type(None) in typing.get_args(annotation(owner, name))


def _callable(config: fdl.Buildable[Any]) -> Any:
    return fdl.get_callable(config)


def _descend(config: fdl.Buildable[Any], parents: list[str], setting: str) -> fdl.Buildable[Any]:
    """The group at a path. UserError, which quotes the setting, where there is none."""
    owner = config
    for depth, name in enumerate(parents):
        check_known(config, owner, name, setting)
        inner = owner.__arguments__.get(name)
        if not isinstance(inner, fdl.Buildable):
            parent, path = ".".join(parents[: depth + 1]), setting.partition("=")[0]
            raise UserError(f"Unknown setting '{path}': {parent} is {inner!r}, which has no settings of its own.")
        owner = inner
    return owner


def _variant(name: str, text: str, sizes: dict[str, Callable[..., Any]]) -> tuple[fdl.Buildable[Any], bool]:
    """The config of a variant or a named size of a stage, and whether it is a variant."""
    known = ", ".join([*variants(name), *sizes])
    variant, texts = parse_call(text, f"{name} takes the name of a variant ({known})")
    full = variant if variant.startswith(f"{name}_") else f"{name}_{variant}"
    if variant in sizes and full not in installed():
        return sizes[variant](**typed_arguments(sizes[variant], texts, f"{name}={variant}")), False
    new = plugin(full) if not sizes else _plugin_or_size(full, variant, sizes)
    config = stage(full)
    for key, value in typed_arguments(new, texts, f"{name}={variant}").items():
        _set(config, key, value)
    return config, True


def _swap(owner: fdl.Buildable[Any], name: str, text: str, sizes: dict[str, Callable[..., Any]]) -> list[str]:
    """Set a stage to another variant; arguments that both variants have are kept. Returns the lines to print."""
    config, is_variant = _variant(name, text, sizes)
    old: Any = owner.__arguments__.get(name)
    _set(owner, name, config)
    if not is_variant or not isinstance(old, fdl.Buildable):
        return []
    given, before, new = arguments_of(config), arguments_of(old), parameters(config)
    kept = {key: value for key, value in before.items() if key in new and key not in given}
    dropped = [key for key in before if key not in kept and key not in given]
    for key, value in kept.items():
        _set(config, key, value, values_of(old, key)[-1].location)
    parts = [f"kept {', '.join(f'{key}={value!r}' for key, value in kept.items())}"] if kept else []
    parts += [f"dropped {', '.join(dropped)}"] if dropped else []
    names = [name_of(_callable(one)) for one in (old, config)]
    return [f"{name}: {names[0]} -> {names[1]}, {'; '.join(parts)}"] if parts and names[0] != names[1] else []


def _set(config: fdl.Buildable[Any], name: str, value: Any, origin: history.Location = _COMMAND_LINE) -> None:
    with history.custom_location(lambda: origin):
        setattr(config, name, value)


def _plugin_or_size(full: str, variant: str, sizes: dict[str, Callable[..., Any]]) -> type:
    try:
        return plugin(full)
    except UserError as error:
        raise UserError(f"{error}{nearest(variant, sizes)} Named sizes: {', '.join(sizes)}.") from error
