"""How a run differs from what it was: between two records, and over the steps of one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..record import Change, Node, Record
from ..registry.table import LATE_BOUND

DATA = "data (its content)"
"""The path of a change of the data's fingerprint."""


def history_of(stored: Record, record: Record, step: int) -> list[Change]:
    """What was changed in a run up to a step, and at it.

    Args:
        stored: The record in the checkpoint that the run is resumed from: it knows all changes before.
        record: The record under which the run continues.
        step: The step of that checkpoint.
    """
    changes = [Change(step, *change) for change in differences(stored.run, record.run)]
    if stored.data and stored.data != record.data:
        changes.append(Change(step, DATA, stored.data, record.data))
    return [*stored.history, *changes]


def differences(stored: Any, new: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """What differs between two values of records; arguments that only the run binds are no difference.

    Args:
        stored: A node, or another value of a record.
        new: What stands in its place now.
        path: Path of both.

    Yields:
        Path, old value and new value of each difference, as text.
    """
    if not (isinstance(stored, Node) and isinstance(new, Node) and replace(stored, args={}) == replace(new, args={})):
        if stored != new:
            yield path, as_call(stored), as_call(new)
        return
    late = {name for names in LATE_BOUND.values() for name in names}
    for name in [*new.args, *(name for name in stored.args if name not in new.args and name not in late)]:
        here = f"{path}.{name}".lstrip(".")
        if name in stored.args and name in new.args:
            yield from differences(stored.args[name], new.args[name], here)
        else:
            yield here, _or_default(stored, name), _or_default(new, name)


def as_call(value: Any) -> str:
    """A value of a record as text: of a node the call, `noise_geometric(sigma_max=10.0)`, with all that was set."""
    if isinstance(value, tuple):
        return f"({', '.join(map(as_call, value))})"
    if not isinstance(value, Node):
        return repr(value)
    arguments = ", ".join(f"{name}={as_call(argument)}" for name, argument in value.args.items())
    origin = f" of {value.file} (sha256 {value.sha256[:12]})" if value.file else ""
    return f"{value.name}({arguments}){origin}"


def _or_default(node: Node, name: str) -> str:
    return as_call(node.args[name]) if name in node.args else "its default"
