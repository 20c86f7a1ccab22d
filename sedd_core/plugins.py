"""Which plugins are installed, and the class behind a name.

Names come from metadata alone; a plugin is imported, and checked against its stage's contract, when a run names it.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from types import ModuleType

import pluggy

from . import hookspecs
from .errors import UserError, nearest
from .hookspecs import PROJECT
from .stages import Backbone, Data, Graph, Monitor, Noise, Sampler

STAGES: dict[str, type] = {
    "noise": Noise,
    "graph": Graph,
    "sampler": Sampler,
    "model": Backbone,
    "data": Data,
    "monitor": Monitor,
}
"""Each stage's contract."""


@dataclass(frozen=True)
class Installed:
    """A plugin as the metadata of its distribution tells of it."""

    name: str
    distribution: str
    version: str
    entry_point: metadata.EntryPoint


def installed() -> dict[str, list[Installed]]:
    """Every installed plugin by name, without importing any; more than one under a name is a clash (see `find`)."""
    found: dict[str, list[Installed]] = {}
    for distribution in metadata.distributions():
        for point in distribution.entry_points:
            if point.group == PROJECT:
                entry = Installed(point.name, distribution.metadata["Name"], distribution.version, point)
                same = found.setdefault(point.name, [])
                if entry.distribution not in [other.distribution for other in same]:
                    same.append(entry)
    return dict(sorted(found.items()))


def variants(stage: str) -> list[str]:
    """The installed variants of a stage, without the stage's name: `["absorb", "uniform"]`."""
    return [name.removeprefix(f"{stage}_") for name in installed() if name.startswith(f"{stage}_")]


def stage_of(name: str) -> str:
    """The stage in a plugin's name; `graph` of `graph_absorb`."""
    stage, _, variant = name.partition("_")
    if stage not in STAGES or not variant:
        raise UserError(f"'{name}' is not a plugin's name: <stage>_<variant>, the stages being {', '.join(STAGES)}.")
    return stage


def find(name: str) -> Installed:
    """The one installed plugin of this name. UserError when there is none, or more than one."""
    stage, everything = stage_of(name), installed()
    owners = everything.get(name, [])
    if len(owners) == 1:
        return owners[0]
    if owners:
        both = " and ".join(sorted(owner.distribution for owner in owners))
        raise UserError(f"Two distributions provide the plugin '{name}': {both}. Uninstall one of them.")
    others = [other for other in everything if stage_of_or_none(other) == stage]
    raise UserError(
        f"There is no plugin '{name}'.{nearest(name, others)} Installed for the stage {stage}: "
        f"{', '.join(others) or 'none'}. One that exists but is not installed: pip install -e plugins/{name}"
    )


def stage_of_or_none(name: str) -> str | None:
    """Like `stage_of`, None for a name of no stage."""
    stage = name.partition("_")[0]
    return stage if stage in STAGES else None


@cache
def plugin(name: str) -> type:
    """The class that a plugin provides: `plugin("graph_absorb")(vocab_size=50257)`.

    Raises UserError when it is not installed, fails to import, or does not keep to its stage's contract.
    """
    entry = find(name)
    try:
        module = entry.entry_point.load()
    except Exception as error:
        raise _broken(entry, f"it fails to import: {type(error).__name__}: {error}") from error
    cls = _checked_class(entry, module)
    _names[cls] = name
    return cls


_names: dict[type, str] = {}


def name_of(cls: type) -> str | None:
    """The name under which `plugin` gave this class, or None."""
    return _names.get(cls)


def _checked_class(entry: Installed, module: ModuleType) -> type:
    hook = f"{PROJECT}_{stage_of(entry.name)}"
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    implemented = [key for key in dir(module) if manager.parse_hookimpl_opts(module, key) is not None]
    if implemented != [hook]:
        raise _broken(entry, f"it must implement the hook {hook} and no other; it implements {implemented or 'none'}")
    try:
        manager.register(module, name=entry.name)
    except pluggy.PluginValidationError as error:
        raise _broken(entry, str(error)) from error
    (cls,) = getattr(manager.hook, hook)()
    fault = contract_fault(cls, STAGES[stage_of(entry.name)])
    if fault:
        raise _broken(entry, fault)
    return cls


def contract_fault(cls: object, contract: type) -> str | None:
    """What keeps a class from meeting its stage's contract, or None."""
    if not (inspect.isclass(cls) and issubclass(cls, contract)):
        return f"its hook must return a subclass of {contract.__name__}, not {cls!r}"
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        return f"{cls.__name__} lacks the methods {', '.join(missing)}"
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            return (
                f"{cls.__name__}.__init__ takes '{parameter}': every argument must be named and keyword-only "
                "(def __init__(self, *, ...)), so that no misspelling passes"
            )
        if parameter.annotation is parameter.empty:
            return f"{cls.__name__}.__init__ has no type for its argument '{parameter.name}'"
    for name, method in inspect.getmembers(contract, inspect.isfunction):
        theirs, ours = inspect.signature(getattr(cls, name)), inspect.signature(method)
        if not name.startswith("_") and list(theirs.parameters) != list(ours.parameters):
            return f"{cls.__name__}.{name}{theirs} differs from its contract, {name}{ours}"
    return None


def _broken(entry: Installed, fault: str) -> UserError:
    return UserError(
        f"The plugin '{entry.name}' ({entry.distribution} {entry.version}) cannot be used: {fault}. "
        f"Mend it, or uninstall it: pip uninstall {entry.distribution}"
    )
