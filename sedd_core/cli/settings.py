"""Settings from the command line: `path.to.value=value`, and a stage's variant by name."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterable
from typing import Any

import fiddle as fdl
from fiddle import history

from ..console import complain
from ..errors import UserError, nearest
from ..record.upgrade import RENAMED_PATHS
from ..registry.installed import installed, variants
from ..registry.plugins import name_of, plugin
from ..registry.table import LATE_BOUND, contracts
from .calls import parse_call, typed_arguments
from .config import stage
from .hints import check_known, parameters
from .values import parse_value, wants_tuple

Sizes = Callable[[str], dict[str, Callable[..., Any]]]
"""The named sizes of a stage: functions that give its config."""
COMMAND_LINE = "command line"
"""The place of what was set there."""
_HERE = history.Location(COMMAND_LINE, 0, None)


def apply(config: fdl.Config[Any], setting: str, sizes: Sizes = lambda stage: {}) -> list[str]:
    """Apply one `path=value` in place. Returns what there is to say of it: what a swap of stages kept and dropped.

    Where a stage stands the value is a variant, or else one of its named sizes; either may have arguments.
    """
    path, equals, text = setting.partition("=")
    if path in RENAMED_PATHS:
        complain(f"warning: the setting {path} is called {RENAMED_PATHS[path]} now; the old name will be removed.")
        path = RENAMED_PATHS[path]
        setting = f"{path}={text}"
    if not equals or not path:
        raise UserError(f"'{setting}' is no setting: write path=value, as in training.steps=100 or sampler=euler.")
    *parents, name = path.split(".")
    owner = _descend(config, parents, setting)
    check_known(config, owner, name, setting)
    current = owner.__arguments__.get(name)
    if is_stage(owner, name) and not (text == "None" and may_be_none(owner, name)):
        return _swap(owner, name, text, sizes(name))
    if isinstance(current, fdl.Buildable) and not is_stage(owner, name):
        inner = ", ".join(f"{path}.{known}" for known in parameters(current))
        raise UserError(f"{path} is a group of settings, not a value. Set one of: {inner}.")
    _set(owner, name, parse_value(text, annotation(owner, name), path))
    return []


def forget_late_bound(config: fdl.Config[Any], settings: Iterable[str]) -> None:
    """Of a record's config, the sizes that follow from data and graph, where a setting is going to change those."""
    changed = {re.split(r"[.=]", setting)[0] for setting in settings}
    for stage_name, late in LATE_BOUND.items() if changed & {"data", "graph"} else ():
        partial = arguments_of(config).get(stage_name)
        if isinstance(partial, fdl.Buildable):
            for name in set(late) & set(arguments_of(partial)):
                delattr(partial, name)


def first_known(config: fdl.Config[Any], paths: tuple[str, ...], flag: str) -> str:
    """The first of these paths that the config has. UserError when it has none."""
    for path in paths:
        owner: Any = config
        for name in path.split("."):
            known = isinstance(owner, fdl.Buildable) and name in parameters(owner)
            owner = owner.__arguments__.get(name) if known else None
            if not known:
                break
        else:
            return path
    raise UserError(f"{flag} means nothing to a {_callable(config).__name__}: it has no {' or '.join(paths)}.")


def arguments_of(config: fdl.Buildable[Any]) -> dict[str, Any]:
    """What has been set in a config, by name."""
    return {str(name): value for name, value in config.__arguments__.items()}


def values_of(config: fdl.Buildable[Any], name: str) -> list[Any]:
    """An argument's history, the latest last, without what was done to its tags."""
    entries = config.__argument_history__.get(name, [])
    return [entry for entry in entries if entry.kind is history.ChangeKind.NEW_VALUE]


def annotation(config: fdl.Buildable[Any], name: str) -> Any:
    """The type that the constructor states for an argument."""
    return typing.get_type_hints(_callable(config).__init__).get(name, Any)


def takes_tuple(config: fdl.Buildable[Any], path: str) -> bool:
    """Whether the setting at a path takes several values at once; False for a path that the config lacks."""
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


def may_be_none(owner: fdl.Buildable[Any], name: str) -> bool:
    """Whether an argument may be left empty."""
    return type(None) in typing.get_args(annotation(owner, name))


def _callable(config: fdl.Buildable[Any]) -> Any:
    return fdl.get_callable(config)


def _descend(config: fdl.Buildable[Any], parents: list[str], setting: str) -> fdl.Buildable[Any]:
    owner = config
    for depth, name in enumerate(parents):
        check_known(config, owner, name, setting)
        inner = owner.__arguments__.get(name)
        if not isinstance(inner, fdl.Buildable):
            here, path = ".".join(parents[: depth + 1]), setting.partition("=")[0]
            raise UserError(f"{here} is {inner!r}, which has no settings of its own, so there is no {path}.")
        owner = inner
    return owner


def _swap(owner: fdl.Buildable[Any], name: str, text: str, sizes: dict[str, Callable[..., Any]]) -> list[str]:
    """Put another variant in a stage's place; arguments that were set and that it also has are kept."""
    known = ", ".join([*variants(name), *sizes])
    variant, texts = parse_call(text, f"{name} takes the name of a variant (there is: {known})")
    full = variant if variant.startswith(f"{name}_") else f"{name}_{variant}"
    if variant in sizes and full not in installed():
        _set(owner, name, sizes[variant](**typed_arguments(sizes[variant], texts, f"{name}={variant}")))
        return []
    new = plugin(full) if not sizes else _plugin_or_size(full, variant, sizes)
    given = typed_arguments(new, texts, f"{name}={variant}")
    old: Any = owner.__arguments__.get(name)
    before = arguments_of(old) if isinstance(old, fdl.Buildable) else {}
    kept = {
        key: value for key, value in before.items() if key in inspect.signature(new).parameters and key not in given
    }
    dropped = [key for key in before if key not in kept and key not in given]
    config = stage(full)
    for key, value in kept.items():
        _set(config, key, value, values_of(old, key)[-1].location)
    for key, value in given.items():
        _set(config, key, value)
    _set(owner, name, config)
    parts = [f"kept {', '.join(f'{key}={value!r}' for key, value in kept.items())}"] if kept else []
    parts += [f"dropped {', '.join(dropped)}"] if dropped else []
    if not isinstance(old, fdl.Buildable) or name_of(_callable(old)) == full or not parts:
        return []
    return [f"{name}: {name_of(_callable(old))} -> {full}, {'; '.join(parts)}"]


def _set(config: fdl.Buildable[Any], name: str, value: Any, place: history.Location = _HERE) -> None:
    with history.custom_location(lambda: place):
        setattr(config, name, value)


def _plugin_or_size(full: str, variant: str, sizes: dict[str, Callable[..., Any]]) -> type:
    try:
        return plugin(full)
    except UserError as error:
        raise UserError(f"{error}{nearest(variant, sizes)} Named sizes: {', '.join(sizes)}.") from error
