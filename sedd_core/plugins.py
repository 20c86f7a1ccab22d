"""The class behind a plugin's name, imported and checked against its stage's contract when a run names it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import pluggy

from . import hookspecs
from .errors import UserError
from .hookspecs import PROJECT
from .installed import Installed, find, stage_of
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


@cache
def plugin(name: str) -> type:
    """The class that a plugin provides: `plugin("graph_absorb")(vocab_size=50257)`.

    Raises UserError when it is not installed, fails to import, or does not keep to its stage's contract.
    """
    entry = find(name)
    module = _guarded(entry, entry.entry_point.load, "it fails to import")
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
    (cls,) = _guarded(entry, getattr(manager.hook, hook), "its hook fails")
    fault = contract_fault(cls, STAGES[stage_of(entry.name)])
    if fault:
        raise _broken(entry, fault)
    return cls


def _guarded(entry: Installed, call: Callable[[], Any], failing: str) -> Any:
    """The result of a plugin's own code; whatever it raises, `SystemExit` of an exit() too, as a UserError."""
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _broken(entry, f"{failing}: {type(error).__name__}: {error}") from error


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
