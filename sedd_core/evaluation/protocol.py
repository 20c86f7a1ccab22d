"""Named, versioned protocols: how a published figure was measured, each value with its source, as a readable file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest

FOLDER = Path(__file__).with_name("protocols")
"""Folder of the protocols that come with this package."""
METHODS = ("bound",)
"""What a protocol can measure."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published figure, to be put beside ours."""

    model: str
    """Model and its size."""
    set: str
    """Name of the data set."""
    unit: str
    """Unit of the value."""
    value: float
    """The published value."""
    source: str
    """Where it was published."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A protocol: settings of the data and of the evaluator, with the source of each."""

    name: str
    """Name, that of its file."""
    version: int
    """Version; any change of a setting raises it."""
    about: str
    """Description in one line."""
    precision: str
    """Precision of the published run, or "unverified"; that of a run here is its own setting."""
    source: str
    """Where the protocol is from."""
    data: Mapping[str, Any]
    """Settings of the data; "plugin" names it."""
    evaluator: Mapping[str, Any]
    """Settings of the evaluator; "plugin" names it."""
    splits: Mapping[str, str]
    """Split by name of the set, where it is not the usual one."""
    sources: Mapping[str, str]
    """Source of each setting, by "table.setting"."""
    sets: Mapping[str, Mapping[str, Any]]
    """Token count and hash by name of the set, where they were verified."""
    published: Sequence[Published]
    """Published figures."""

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"

    def source_of(self, table: str, setting: str) -> str | None:
        """The source of a setting; None if the file states none."""
        names = (f"{table}.{setting}", f"{table}.*", "*")
        return next((self.sources[name] for name in names if name in self.sources), None)


def protocol_names() -> list[str]:
    """Names of the protocols that come with this package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_protocol(name: str) -> Protocol:
    """Read a protocol.

    Args:
        name: Name of a protocol, or path of a .toml file in the same form.

    Raises:
        UserError: There is none of that name, or its file is damaged or states a method that is not known.
    """
    path = Path(name).expanduser() if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        names = protocol_names()
        there = f"{nearest(name, names)} Protocols: {', '.join(names)}; or a .toml file"
        raise UserError(f"Protocol '{name}' does not exist.{there}.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The protocol {path} cannot be read: {error}.") from error
    method = content.pop("method", None)
    if method not in METHODS:  # before anything else: another method has other settings
        raise UserError(f"The protocol {path} has method = {method!r}; there is {', '.join(METHODS)}.")
    try:
        published = [Published(**row) for row in content.pop("published", [])]
        content: dict[str, Any] = {"splits": {}, "sets": {}, "sources": {}, "data": {}} | content
        protocol = Protocol(name=path.stem, published=published, **content)
        missing = [
            what
            for what in ("data", "evaluator")
            if getattr(protocol, what) and "plugin" not in getattr(protocol, what)
        ]
    except TypeError as error:
        raise UserError(f"The protocol {path} is not in the form of the others: {error}.") from error
    if missing:
        raise UserError(f"The protocol {path} states no plugin in [{missing[0]}].")
    return protocol
