"""Record of a run: its configuration and provenance as data."""

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
    """A setting that a resumed run changed."""

    step: int
    """Number of training steps before the change."""
    path: str
    """Path of the setting in the run."""
    old: str
    """Previous value, as text."""
    new: str
    """New value, as text."""

    def __str__(self) -> str:
        return f"after step {self.step} {self.path}: {self.old} -> {self.new}"


@dataclass
class Record:
    """Configuration and provenance of a run: enough to rebuild its objects and to trace its numbers.

    The fields about the data (data, length, end, conditioned_on) are set once the data has been read.
    """

    run: Node
    """The run with the values of its last step."""
    command: str = ""
    """Command line that started the run."""
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)
    """Version and other metadata of each plugin, by the plugin's name."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of Python and of libraries, by name."""
    hardware: dict[str, str] = field(default_factory=dict)
    """Hardware that the run used, by kind."""
    git: dict[str, str] = field(default_factory=dict)
    """State of the git repository."""
    data: str = ""
    """Fingerprint of the data."""
    length: int = 0
    """Tokens per sequence; 0 if unknown."""
    end: int = -1
    """End-of-text token if each sequence is one document; -1 otherwise."""
    conditioned_on: str = ""
    """Quantity that the figures are conditional on (see `Sequences`); "" for none."""
    format: int = FORMAT
    """Format of the record's file."""
    history: list[Change] = field(default_factory=list)
    """Changes made by resuming, in the order of steps."""

    def node(self, name: str) -> Node:
        """The node of one of the run's arguments.

        Args:
            name: Name of the argument.

        Raises:
            UserError: The run has no such argument, or its value is not a node.
        """
        node = self.run.args.get(name)
        if not isinstance(node, Node):
            raise UserError(f"The record is damaged: its run has no '{name}'.")
        return node

    def write(self, path: Path) -> None:
        """Write the record as JSON, atomically.

        Args:
            path: Path of the file.

        Raises:
            ValueError: A number is not finite.
            OSError: The file cannot be written.
        """
        content = {**vars(self), "run": self.run.to_json(), "history": [asdict(change) for change in self.history]}
        write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record of this or an earlier format.

        Args:
            path: Path of the file.

        Raises:
            UserError: The file cannot be read, is damaged, or has a newer format than this version reads.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            json.dumps(content, ensure_ascii=False).encode()  # a string that UTF-8 cannot encode is a ValueError
            return cls._from_json(content)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is not a record of a run: {error}.") from error

    @classmethod
    def _from_json(cls, content: Any) -> Record:
        """The record in the content of a file. ValueError if the content is not a record."""
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
