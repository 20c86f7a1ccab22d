"""The record: a run's resolved configuration as data, and the objects made from it.

A record names plugins and core classes and holds scalars and tuples, nothing else. Reading one imports only the
plugins that it names, and calls only their classes and the classes marked `@recordable`, with arguments whose names their
signatures know. So a record from elsewhere can be built without trusting it.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from .errors import UserError, nearest
from .files import write_text
from .plugins import STAGES, plugin
from .sizes import MOST_PARAMETERS, MOST_TOKENS, at_most
from .trust import class_of_file
from .typed import coerce, describe

FORMAT = 1
DEEPEST = 20
"""Nodes and tuples within each other."""
WAITING = ("graph", "model")
"""Stages that a run completes with what only it knows: the vocabulary, the number of states."""
FILLED_IN = ("vocab_size", "num_states")
"""The arguments that it completes them with."""

Node = dict[str, Any]
"""{"plugin": name, "args": {...}}, {"core": name, "args": {...}}, or a class of an experiment's file (see `trust`):
{"file": path, "sha256": hash, "class": name, "args": {...}}. Values are nodes, scalars or {"tuple": [...]}."""

_KINDS = ({"plugin", "args"}, {"core", "args"}, {"file", "sha256", "class", "args"})

_SCALARS = (bool, int, float, str, tuple)


T = TypeVar("T", bound=type)
_classes: dict[str, type] = {}
_open: list[type] = []


def recordable(cls: T) -> T:
    """A class decorator: records may name this class, which is the core's own."""
    _classes[cls.__name__] = cls
    return cls


def open_recordable(cls: T) -> T:
    """Like `recordable`; subclasses in an experiment's file may be recorded too (see `trust`)."""
    _open.append(cls)
    return recordable(cls)


def recordable_classes() -> dict[str, type]:
    """The classes that records may name, of those that have been imported, by name."""
    return dict(_classes)


def open_classes() -> tuple[type, ...]:
    """Those of which subclasses may be recorded too."""
    return tuple(_open)


def build(node: Any, path: str = "") -> Any:
    """The object that a node stands for; a graph or a model comes as a partial that the run completes.

    UserError, with the path of the fault, for an unknown name, an unknown argument or a value that is refused.
    """
    if isinstance(node, dict) and set(node) == {"tuple"} and isinstance(node["tuple"], list):
        return tuple(build(value, f"{path}[{i}]") for i, value in enumerate(node["tuple"]))
    if isinstance(node, dict):
        cls = class_of(node, path)
        arguments = {
            name: _typed(cls, name, build(value, f"{path}.{name}".lstrip(".")), path)
            for name, value in node["args"].items()
        }
        if waits(cls):
            return partial(cls, **arguments)
        return construct(cls, arguments, path)
    if isinstance(node, str) and "\0" in node:
        raise UserError(f"{path} is {node!r}; no setting can contain a NUL character.")
    if node is None or isinstance(node, bool | int | str) or (isinstance(node, float) and math.isfinite(node)):
        return node
    raise UserError(f"{path or 'The record'} holds {node!r}, which no record may hold.")


def waits(cls: type) -> bool:
    """Whether a run completes what this class makes."""
    return issubclass(cls, tuple(STAGES[stage] for stage in WAITING))


def class_of(node: Node, path: str = "") -> type:
    """The class that a node names, its arguments' names checked."""
    where = path or "the run"
    whole = set(node) in _KINDS and isinstance(node["args"], dict)
    if not (whole and all(isinstance(name, str) for key, name in node.items() if key != "args")):
        raise UserError(f"The record is damaged at {where}: {node!r} names neither a plugin nor a core class.")
    if "plugin" in node:
        cls = plugin(node["plugin"])
    elif "file" in node:
        cls = class_of_file(node)
    elif node["core"] in recordable_classes():
        cls = recordable_classes()[node["core"]]
    else:
        raise UserError(
            f"The record names the class '{node['core']}' at {where}, which is not a class of a run "
            f"({', '.join(recordable_classes())})."
        )
    known = list(inspect.signature(cls).parameters)
    for name in node["args"]:
        if name not in known:
            its = ", ".join(known) or "none"
            raise UserError(f"{where} has no argument '{name}'.{nearest(name, known)} It has: {its}.")
    return cls


def _typed(cls: type, name: str, value: Any, path: str) -> Any:
    """A value of the type that the class states for an argument; UserError when it is of another."""
    hint = get_type_hints(cls.__init__).get(name, Any)
    try:
        return coerce(value, hint)
    except TypeError:
        here = f"{path}.{name}".lstrip(".")
        kind = value.func if isinstance(value, partial) else type(value)
        shown = repr(value) if value is None or isinstance(value, _SCALARS) else f"a {kind.__name__}"
        raise UserError(f"{here} takes {describe(hint)}, not {shown}.") from None


def construct(cls: Callable[..., Any], arguments: dict[str, Any], path: str) -> Any:
    """cls(**arguments), with what the class refuses said as a UserError."""
    try:
        with at_most(MOST_PARAMETERS):
            return cls(**arguments)
    except (ValueError, TypeError, RuntimeError, OverflowError, MemoryError) as error:  # torch's for impossible sizes
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(f"{path or 'The run'} cannot be made: {reason}.") from error


def complete(waiting: partial[Any], path: str, **values: Any) -> tuple[Any, dict[str, Any]]:
    """The object that a partial was waiting to become, and all its arguments.

    values: what the run knows. A stated value that disagrees is a UserError.
    """
    if values.get("vocab_size", 0) > MOST_TOKENS:
        raise UserError(f"{path} cannot have {values['vocab_size']:,} tokens; {MOST_TOKENS:,} are the most.")
    for name, value in values.items():
        stated = waiting.keywords.get(name)
        if stated is not None and stated != value:
            raise UserError(
                f"{path}.{name} is {stated}, but this run's is {value}. Leave it out, or set it to {value}."
            )
    arguments = {**waiting.keywords, **values}
    return construct(waiting.func, arguments, path), arguments


@dataclass(frozen=True)
class Change:
    """A setting that a resumed run changed: steps done before it, the setting's path, and its values as text."""

    step: int
    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"after step {self.step} {self.path}: {self.old} -> {self.new}"


@dataclass
class Record:
    """What a run is and was: enough to rebuild its objects, and to know where its numbers come from.

    run holds the values of the last step; history, in the order of steps, what they were before.
    data: the data's fingerprint, length: tokens of its sequences (0: not said), end: the token that ends a document
    where each sequence is one (-1: none), and conditioned_on: what its figures are given (see `Sequences`); known
    once the data has been read.
    """

    run: Node
    command: str = ""
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)
    git: dict[str, str] = field(default_factory=dict)
    data: str = ""
    length: int = 0
    end: int = -1
    conditioned_on: str = ""
    format: int = FORMAT
    history: list[Change] = field(default_factory=list)

    def node(self, name: str) -> Node:
        """The node of one of the run's arguments. UserError when there is none."""
        arguments = self.run.get("args")
        node = arguments.get(name) if isinstance(arguments, dict) else None
        if not isinstance(node, dict):
            raise UserError(f"The record is damaged: its run has no '{name}'.")
        return node

    def write(self, path: Path) -> None:
        """Write JSON, whole or not at all."""
        write_text(path, json.dumps(asdict(self), indent=1, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read JSON; UserError when it is damaged, or newer than this code."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            json.dumps(content, ensure_ascii=False).encode()  # a text that no file can hold is a ValueError
            fault = cls._fault(content)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is no record of a run: {error}.") from error
        if fault:
            raise UserError(f"{path} is no record of a run: {fault}.")
        if content["format"] > FORMAT:
            raise UserError(f"{path} has format {content['format']}; this version reads up to {FORMAT}: update it.")
        content["history"] = [Change(**change) for change in content.get("history", [])]
        return cls(**content)

    @classmethod
    def _fault(cls, content: Any) -> str | None:
        """What keeps the content of a file from being a record of some format, or None."""
        if not isinstance(content, dict) or not {"run", "format"} <= set(content):
            return "it has no 'run' or no 'format'"
        if type(content["format"]) is not int or content["format"] < 1:
            return f"its 'format' is {content['format']!r}"
        if content["format"] > FORMAT:
            return None
        hints = get_type_hints(cls)
        for name, value in content.items():
            if name not in hints:
                return f"it has '{name}', which no record has"
            if not isinstance(value, get_origin(hints[name]) or hints[name]):
                return f"its '{name}' is {value!r}"
        for change in content.get("history", []):
            if not isinstance(change, dict) or {k: type(v) for k, v in change.items()} != get_type_hints(Change):
                return f"its 'history' has {change!r}"
        place = _damage(content["run"], "run")
        return None if place is None else f"it is damaged at {place}"


def _damage(value: Any, path: str, depth: int = 0) -> str | None:
    """The path of what is neither node, tuple nor scalar, or is nested too deep to be a run's; None without it."""
    if not isinstance(value, dict | list):
        return None
    if depth > DEEPEST:
        return path
    if isinstance(value, dict) and set(value) == {"tuple"} and isinstance(value["tuple"], list):
        inner = {f"{path}[{i}]": item for i, item in enumerate(value["tuple"])}
    elif isinstance(value, dict) and set(value) in _KINDS and isinstance(value["args"], dict):
        inner = {f"{path}.{name}": item for name, item in value["args"].items()}
        if not all(isinstance(name, str) for key, name in value.items() if key != "args"):
            return path
    else:
        return path
    return next((place for at, item in inner.items() if (place := _damage(item, at, depth + 1))), None)


def nodes_in(node: Any) -> Iterator[Node]:
    """A node, and all below it, those in tuples too."""
    if isinstance(node, dict):
        yield node
        for value in [*node.get("args", {}).values(), *node.get("tuple", [])]:
            yield from nodes_in(value)
