"""Settings from the command line: `path.to.value=value`, and a stage's variant by name."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import fiddle as fdl
from fiddle import history

from ..errors import UserError, nearest
from ..plugins import STAGES, name_of, plugin, stage_of, variants
from .config import stage
from .values import parse


def apply(config: fdl.Config[Any], setting: str) -> list[str]:
    """Apply one `path=value` in place. Returns what there is to say of it: what a swap of stages kept and dropped."""
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise UserError(f"'{setting}' is no setting: write path=value, as in training.steps=100 or sampler=euler.")
    *parents, name = path.split(".")
    owner = _descend(config, parents, path)
    _check_known(owner, name, path)
    with history.custom_location(lambda: history.Location("command line", 0, None)):
        current = owner.__arguments__.get(name)
        if name in STAGES and _is_stage(owner, name):
            return _swap(owner, name, text, path)
        if isinstance(current, fdl.Buildable):
            inner = ", ".join(f"{path}.{known}" for known in parameters(current))
            raise UserError(f"{path} is a group of settings, not a value. Set one of: {inner}.")
        setattr(owner, name, parse(text, annotation(owner, name), path))
    return []


def parameters(config: fdl.Buildable[Any]) -> list[str]:
    """What can be set in a config."""
    return list(inspect.signature(_callable(config)).parameters)


def arguments_of(config: fdl.Buildable[Any]) -> dict[str, Any]:
    """What has been set in a config, by name."""
    return {str(name): value for name, value in config.__arguments__.items()}


def annotation(config: fdl.Buildable[Any], name: str) -> Any:
    """The type that the constructor states for an argument."""
    return typing.get_type_hints(_callable(config).__init__).get(name, Any)


def _callable(config: fdl.Buildable[Any]) -> Any:
    return fdl.get_callable(config)


def _is_stage(owner: fdl.Buildable[Any], name: str) -> bool:
    current = owner.__arguments__.get(name)
    return current is None or isinstance(current, fdl.Buildable)


def _descend(config: fdl.Buildable[Any], parents: list[str], path: str) -> fdl.Buildable[Any]:
    owner = config
    for depth, name in enumerate(parents):
        _check_known(owner, name, path)
        inner = owner.__arguments__.get(name)
        if not isinstance(inner, fdl.Buildable):
            here = ".".join(parents[: depth + 1])
            raise UserError(f"{here} is {inner!r}, which has no settings of its own, so there is no {path}.")
        owner = inner
    return owner


def _check_known(owner: fdl.Buildable[Any], name: str, path: str) -> None:
    known = parameters(owner)
    if name not in known:
        where = _callable(owner).__name__
        raise UserError(
            f"There is no setting '{path}': {where} has no '{name}'.{nearest(name, known)} "
            f"It has: {', '.join(known)}."
        )


def _swap(owner: fdl.Buildable[Any], name: str, text: str, path: str) -> list[str]:
    """Put another variant in a stage's place; arguments that were set and that it also has are kept."""
    full = text if text.startswith(f"{name}_") else f"{name}_{text}"
    if not text.isidentifier() or stage_of(full) != name:
        raise UserError(f"{path} takes the name of a variant, not '{text}'. Installed: {', '.join(variants(name))}.")
    old = owner.__arguments__.get(name)
    set_before = arguments_of(old) if isinstance(old, fdl.Buildable) else {}
    known = inspect.signature(plugin(full)).parameters
    kept = {key: value for key, value in set_before.items() if key in known}
    setattr(owner, name, stage(full, **kept))
    dropped = [key for key in set_before if key not in known]
    if not isinstance(old, fdl.Buildable) or name_of(_callable(old)) == full or not (kept or dropped):
        return []
    parts = [f"kept {', '.join(f'{k}={v!r}' for k, v in kept.items())}"] if kept else []
    parts += [f"dropped {', '.join(dropped)}"] if dropped else []
    return [f"{path}: {name_of(_callable(old))} -> {full}, {'; '.join(parts)}"]
