"""Classes of plugins, imported by name and checked against their stage's contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

import pluggy

from ..errors import UserError
from .hookspecs import PROJECT, hook_of, specifications
from .installed import Installed, find_plugin, stage_of
from .renamed import new_name, renamed_method
from .table import contracts


@cache
def plugin(name: str) -> type:
    """Import the class that a plugin provides: `plugin("graph_absorb")(vocab_size=50257)`.

    Args:
        name: Name of the plugin, <stage>_<variant>, or a further name of one.

    Raises:
        UserError: The plugin is not installed, fails to import, or does not satisfy its stage's contract.
    """
    entry = find_plugin(name)
    module = _guarded(entry, entry.entry_point.load, "it fails to import")
    cls = _checked_class(entry, module)
    _names[cls] = entry.name
    return cls


_names: dict[type, str] = {}


def name_of(cls: type) -> str | None:
    """Name of the plugin that provided this class through `plugin`; None for other classes."""
    return _names.get(cls)


def _checked_class(entry: Installed, module: ModuleType) -> type:
    hook = hook_of(stage_of(entry.name))
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(specifications())
    implemented = [key for key in dir(module) if manager.parse_hookimpl_opts(module, key) is not None]
    if implemented != [hook]:
        raise _broken(entry, f"it must implement the hook {hook} and no other; it implements {implemented or 'none'}")
    try:
        manager.register(module, name=entry.name)
    except pluggy.PluginValidationError as error:
        raise _broken(entry, str(error)) from error
    (cls,) = _guarded(entry, getattr(manager.hook, hook), "its hook fails")
    stage = stage_of(entry.name)
    fault = (renamed_method(cls, stage) if inspect.isclass(cls) else None) or contract_fault(cls, contracts()[stage])
    if fault:
        raise _broken(entry, fault)
    return cls


def _guarded(entry: Installed, call: Callable[[], Any], failing: str) -> Any:
    """Call code of a plugin; anything that it raises, even SystemExit, becomes a UserError."""
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _broken(entry, f"{failing}: {type(error).__name__}: {error}{new_name(error)}") from error


def contract_fault(cls: object, contract: type) -> str | None:
    """Why a class does not satisfy a contract.

    Args:
        cls: Object that a plugin provides.
        contract: Abstract class of the stage.

    Returns:
        A clause for a message; None if the class satisfies the contract.
    """
    if not (inspect.isclass(cls) and issubclass(cls, contract)):
        return f"its hook must return a subclass of {contract.__name__}, not {cls!r}"
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        return f"{cls.__name__} lacks the methods {', '.join(missing)}"
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            return (
                f"{cls.__name__}.__init__ takes '{parameter}': every argument must be named and keyword-only "
                "(def __init__(self, *, ...)), so that misspellings are detected"
            )
        if parameter.annotation is parameter.empty:
            return f"{cls.__name__}.__init__ has no type for its argument '{parameter.name}'"
    faults = (_member_fault(cls, name, expected) for name, expected in _members(cls))
    return next(filter(None, faults), None)


def _members(cls: type) -> Iterator[tuple[str, object]]:
    """Public members of the contracts that a class inherits from, each as the nearest contract has it.

    An attribute that a contract only annotates has the value None.
    """
    members: dict[str, object] = {}
    for base in reversed(cls.__mro__[1:]):
        if base.__module__.startswith("sedd_core."):
            members |= {**dict.fromkeys(inspect.get_annotations(base)), **vars(base)}
    yield from ((name, value) for name, value in members.items() if not name.startswith("_"))


def _member_fault(cls: type, name: str, expected: object) -> str | None:
    """How a member of a class differs from its contract in kind or signature; None if it agrees."""
    actual, shown = inspect.getattr_static(cls, name, None), f"{cls.__name__}.{name}"
    if isinstance(expected, classmethod) and isinstance(actual, classmethod):
        actual, expected = actual.__func__, expected.__func__
    is_method = isinstance(actual, FunctionType | staticmethod | classmethod)
    if not isinstance(expected, FunctionType):
        kinds = {
            property: "a property: put @property before it",
            classmethod: "a method of the class: put @classmethod",
        }
        kind = kinds.get(type(expected), "a value")
        return f"{shown} is a method; its contract has {kind}" if is_method else None
    if not isinstance(actual, FunctionType):
        return f"{shown} must be a method: its contract has {name}{inspect.signature(expected)}"
    signatures = inspect.signature(actual), inspect.signature(expected)
    if list(signatures[0].parameters) != list(signatures[1].parameters):
        return f"{shown}{signatures[0]} differs from its contract, {name}{signatures[1]} (docs/contracts.md)"
    return None


def _broken(entry: Installed, fault: str) -> UserError:
    return UserError(
        f"The plugin '{entry.name}' ({entry.distribution} {entry.version}) cannot be used: {fault}. "
        f"Fix it or uninstall it: pip uninstall {entry.distribution}"
    )
