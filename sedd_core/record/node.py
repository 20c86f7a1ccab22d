"""Nodes: constructor calls as data, with classes given by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

DEEPEST = 20
"""Maximum nesting depth of nodes and tuples."""
_KEYS = {
    "plugin": {"plugin", "args"},
    "core": {"core", "args"},
    "file": {"file", "sha256", "class", "args"},
}
"""Keys of a node's JSON object, by the kind of the node."""


@dataclass(frozen=True)
class Node:
    """A constructor call, which represents an object in a record."""

    kind: Literal["plugin", "core", "file"]
    """Origin of the class: a plugin, `sedd_core`, or the file of an experiment."""
    name: str
    """Name of the plugin, or of the class."""
    args: dict[str, Any] = field(default_factory=dict)
    """Values of the arguments that were set, by name: scalars, nodes, and tuples of these."""
    file: str = ""
    """Path of the experiment's file; "" for other kinds."""
    sha256: str = ""
    """SHA-256 of the content of that file; "" for other kinds."""

    def children(self, path: str = "") -> Iterator[tuple[str, Any]]:
        """Argument values with their paths; a tuple yields each of its items.

        Args:
            path: Path of this node.

        Yields:
            Path and value, such as ("data.paths[0]", "text.txt").
        """
        for name, value in self.args.items():
            yield from _items(value, f"{path}.{name}".lstrip("."))

    def walk(self, path: str = "") -> Iterator[tuple[str, Any]]:
        """This node and all values below it, each node before its children.

        Args:
            path: Path of this node.

        Yields:
            Path and value.
        """
        yield path, self
        for inner, value in self.children(path):
            if isinstance(value, Node):
                yield from value.walk(inner)
            else:
                yield inner, value

    def nodes(self) -> Iterator[Node]:
        """This node and all nodes below it."""
        return (value for _, value in self.walk() if isinstance(value, Node))

    def map_args(self, function: Callable[[Any, str], Any], path: str = "") -> dict[str, Any]:
        """Apply a function to each argument value, and to each item of a tuple.

        Args:
            function: Maps a value and its path to the new value.
            path: Path of this node.

        Returns:
            The new values by the names of the arguments.
        """
        return {name: _mapped(value, function, f"{path}.{name}".lstrip(".")) for name, value in self.args.items()}

    def to_json(self) -> dict[str, Any]:
        """The JSON object: {"plugin": name, "args": {...}}, {"core": ...} or {"file": ..., "class": name, ...}."""
        args = {name: _to_json(value) for name, value in self.args.items()}
        if self.kind == "file":
            return {"file": self.file, "sha256": self.sha256, "class": self.name, "args": args}
        return {self.kind: self.name, "args": args}

    @classmethod
    def from_json(cls, content: Any, path: str = "run") -> Node:
        """Parse a JSON object.

        Args:
            content: Result of `to_json`, or any other JSON value.
            path: Path of the content, for messages.

        Raises:
            ValueError: The content is damaged or nested too deeply; the message names the path.
        """
        node = _from_json(content, path, 0)
        if not isinstance(node, cls):
            raise _damaged(path)
        return node


def _items(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _items(item, f"{path}[{index}]")
    else:
        yield path, value


def _mapped(value: Any, function: Callable[[Any, str], Any], path: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_mapped(item, function, f"{path}[{index}]") for index, item in enumerate(value))
    return function(value, path)


def _to_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return {"tuple": [_to_json(item) for item in value]}
    return value.to_json() if isinstance(value, Node) else value


def _from_json(content: Any, path: str, depth: int) -> Any:
    """A node, a tuple or a scalar. ValueError for anything else."""
    if not isinstance(content, dict | list):
        return content
    if depth > DEEPEST or not isinstance(content, dict):
        raise _damaged(path)
    if set(content) == {"tuple"} and isinstance(content["tuple"], list):
        return tuple(_from_json(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(content["tuple"]))
    kind = next((kind for kind, keys in _KEYS.items() if set(content) == keys), None)
    names = [value for key, value in content.items() if key != "args"]
    if kind is None or not isinstance(content["args"], dict) or not all(isinstance(name, str) for name in names):
        raise _damaged(path)
    args = {name: _from_json(value, f"{path}.{name}", depth + 1) for name, value in content["args"].items()}
    if kind == "file":
        return Node("file", content["class"], args, content["file"], content["sha256"])
    return Node("plugin" if kind == "plugin" else "core", content[kind], args)


def _damaged(path: str) -> ValueError:
    return ValueError(f"it is damaged at {path}")
