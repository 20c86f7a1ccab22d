"""Construction of objects from the nodes of a record.

Only plugins that a node names are imported, and only their classes and those marked `@recordable` are called, with
arguments that their signatures contain. So an untrusted record is safe to build.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections import ChainMap
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from functools import partial
from typing import Any, get_type_hints

from ..errors import UserError, nearest
from ..record import Node, Record, recordable_classes
from ..record.limits import MOST_PARAMETERS, MOST_TOKENS
from ..registry.plugins import plugin
from ..registry.table import STAGES, contracts
from .compare import as_call
from .limits import at_most
from .trust import class_of_file
from .types import coerce, describe_type

_SCALARS = (bool, int, float, str, tuple)


def build(value: Any, path: str = "") -> Any:
    """Build the object that a node describes; scalars are returned unchanged.

    Args:
        value: Node, or the value of one of its arguments.
        path: Path of the value in the run, for messages.

    Returns:
        The object; for a class with arguments that a run binds late (a graph, a model), a partial for `bind`.

    Raises:
        UserError: The node names an unknown class or argument, or a value is invalid; the message names the path.
    """
    if isinstance(value, Node):
        cls = class_of(value, path)
        _check_no_repetition(value, path)
        built = value.map_args(build, path)
        arguments = {name: _typed(cls, name, argument, path) for name, argument in built.items()}
        return partial(cls, **arguments) if is_late_bound(cls) else construct(cls, arguments, path)
    if isinstance(value, str) and "\0" in value:
        raise UserError(f"{path} is {value!r}; no setting can contain a NUL character.")
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise UserError(f"{path or 'The record'} contains {value!r}, which cannot be stored in a record.")


def _check_no_repetition(node: Node, path: str) -> None:
    """UserError for a stage given twice with the same settings, as `monitor` and in `monitors`, or twice there."""
    for stage in STAGES:
        several = node.args.get(f"{stage}s")
        if not isinstance(several, tuple):
            continue
        paths = {stage: node.args.get(stage), **{f"{stage}s[{index}]": item for index, item in enumerate(several)}}
        seen: dict[str, str] = {}
        for name, value in paths.items():
            if isinstance(value, Node):
                call = as_call(replace(value, args=_with_defaults(class_of(value, name), value.args)))
                if call in seen:
                    where = f"{path}.{name}".lstrip(".")
                    raise UserError(f"{where} repeats {seen[call]}, {call}. Remove one, or give it other settings.")
                seen[call] = name


def _with_defaults(cls: type, args: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: args.get(p.name, p.default) for p in parameters if p.name in args or p.default is not p.empty}


def is_late_bound(cls: type) -> bool:
    """Whether a run binds some arguments of this class late; see `registry.table`."""
    return any(stage.late and issubclass(cls, contracts()[name]) for name, stage in STAGES.items())


def class_of(node: Node, path: str = "") -> type:
    """The class that a node names.

    Args:
        node: Node that names a class.
        path: Path of the node in the run, for messages.

    Raises:
        UserError: The class does not exist, or lacks one of the arguments of the node.
    """
    where = path or "the run"
    if node.kind == "plugin":
        cls = plugin(node.name)
    elif node.kind == "file":
        cls = class_of_file(node)
    elif node.name in recordable_classes():
        cls = recordable_classes()[node.name]
    else:
        raise UserError(
            f"The record names the class '{node.name}' at {where}, which is not a class of a run "
            f"({', '.join(recordable_classes())})."
        )
    known = list(inspect.signature(cls).parameters)
    for name in node.args:
        if name not in known:
            arguments = ", ".join(known) or "none"
            raise UserError(f"{where} has no argument '{name}'.{nearest(name, known)} It has: {arguments}.")
    return cls


def argument_types(cls: type) -> dict[str, Any]:
    """Annotated types of a constructor's arguments, by name.

    The `__init__` of a dataclass also has the annotations of inherited fields, whose names are resolved in the
    modules of the base classes.

    Args:
        cls: Class with the constructor.
    """
    owners = [base for base in cls.__mro__ if base is not object]
    while owners and "__init__" not in vars(owners[0]):
        owners.pop(0)
    modules = [vars(sys.modules[base.__module__]) for base in owners if base.__module__ in sys.modules]
    return get_type_hints(cls.__init__, localns=ChainMap(*modules))


def _typed(cls: type, name: str, value: Any, path: str) -> Any:
    """Convert a value to the annotated type of an argument. UserError if it has another type."""
    hint = argument_types(cls).get(name, Any)
    try:
        return coerce(value, hint)
    except TypeError:
        argument_path = f"{path}.{name}".lstrip(".")
        kind = value.func if isinstance(value, partial) else type(value)
        shown = repr(value) if value is None or isinstance(value, _SCALARS) else f"a {kind.__name__}"
        raise UserError(f"{argument_path} takes {describe_type(hint)}, not {shown}.") from None


def construct(cls: Callable[..., Any], arguments: dict[str, Any], path: str) -> Any:
    """Call cls(**arguments) and turn its errors into a UserError.

    Args:
        cls: Class to instantiate.
        arguments: Keyword arguments.
        path: Path of the object in the run, for messages.

    Raises:
        UserError: The class rejects the arguments.
    """
    try:
        with at_most(MOST_PARAMETERS):
            return cls(**arguments)
    except FrozenInstanceError as error:  # a subclass of a frozen dataclass that sets attributes in its __init__
        raise UserError(
            f"{path or 'The run'} cannot be made: {cls.__name__} assigns attributes in its __init__. Declare them as "
            "fields instead, with @dataclass(frozen=True, kw_only=True) above the class."
        ) from error
    except (
        ValueError,
        TypeError,
        RuntimeError,
        OverflowError,
        MemoryError,
    ) as error:  # torch raises these for impossible sizes
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(f"{path or 'The run'} cannot be made: {reason}.") from error


def build_part(record: Record, stage: str) -> Any:
    """Build a stage of a record's run with the arguments that the record states.

    Args:
        record: Record of a run or of a model.
        stage: Name of the stage.

    Returns:
        An object of the stage's contract.

    Raises:
        UserError: The run has no such stage, or an object of another type there.
    """
    built = build(record.node(stage), stage)
    part = construct(built.func, built.keywords, stage) if isinstance(built, partial) else built
    expected = contracts()[stage]
    if not isinstance(part, expected):
        raise UserError(f"The record is damaged: its {stage} is a {type(part).__name__}, not a {expected.__name__}.")
    return part


def bind(incomplete: partial[Any], path: str, **values: Any) -> tuple[Any, dict[str, Any]]:
    """Complete a partial from `build`.

    Args:
        incomplete: Class with the arguments that were set.
        path: Path of the stage in the run, for messages.
        values: Arguments that the run binds late.

    Returns:
        The object, and all its arguments by name.

    Raises:
        UserError: A value that was set differs from the run's, or the class rejects the arguments.
    """
    if values.get("vocab_size", 0) > MOST_TOKENS:
        raise UserError(f"{path} cannot have {values['vocab_size']:,} tokens; the maximum is {MOST_TOKENS:,}.")
    for name, value in values.items():
        stated = incomplete.keywords.get(name)
        if stated is not None and stated != value:
            raise UserError(
                f"{path}.{name} is {stated}, but this run's is {value}. Leave it out, or set it to {value}."
            )
    arguments = {**incomplete.keywords, **values}
    return construct(incomplete.func, arguments, path), arguments
