"""The record of a run: its configuration and provenance as data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from ..errors import UserError
from ..files import write_text
from .node import Node
from .upgrade import FORMAT, RENAMED_PATHS, upgrade


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
        """The node of one of the run's arguments.

        Raises:
            UserError: The run has no such argument, or it is no node.
        """
        node = self.run.args.get(name)
        if not isinstance(node, Node):
            raise UserError(f"The record is damaged: its run has no '{name}'.")
        return node

    def write(self, path: Path) -> None:
        """Write JSON, whole or not at all.

        Raises:
            OSError: The file cannot be written.
        """
        content = {**vars(self), "run": self.run.to_json(), "history": [asdict(change) for change in self.history]}
        write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read JSON of this or an earlier format.

        Args:
            path: The file.

        Raises:
            UserError: The file cannot be read, is damaged, or is newer than this code.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            json.dumps(content, ensure_ascii=False).encode()  # a text that no file can hold is a ValueError
            return cls._from_json(content)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is not a record of a run: {error}.") from error

    @classmethod
    def _from_json(cls, content: Any) -> Record:
        """The record in the content of a file. ValueError where that is not one."""
        if not isinstance(content, dict) or not {"run", "format"} <= set(content):
            raise ValueError("it has no 'run' or no 'format'")
        if type(content["format"]) is not int or content["format"] < 1:
            raise ValueError(f"its 'format' is {content['format']!r}")
        if content["format"] > FORMAT:
            raise ValueError(f"it has format {content['format']}; this version reads up to {FORMAT}: update it")
        hints = get_type_hints(cls) | {"run": dict}
        for name, value in content.items():
            if name not in hints:
                raise ValueError(f"it has '{name}', which is not a field of a record")
            if not isinstance(value, get_origin(hints[name]) or hints[name]):
                raise ValueError(f"its '{name}' is {value!r}")
        for change in content.get("history", []):
            if not isinstance(change, dict) or {k: type(v) for k, v in change.items()} != get_type_hints(Change):
                raise ValueError(f"its 'history' has {change!r}")
        run, history = Node.from_json(content["run"]), [Change(**change) for change in content.get("history", [])]
        if content["format"] < FORMAT:
            run = upgrade(run)
            history = [replace(change, path=RENAMED_PATHS.get(change.path, change.path)) for change in history]
        return cls(**{**content, "run": run, "history": history, "format": FORMAT})
