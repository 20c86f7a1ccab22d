"""Differences between two records, and the history of changes of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..record import Change, Node, Record
from ..registry.table import LATE_BOUND

DATA = "data (its content)"
"""Path that stands for the data's fingerprint in a change."""


def history_of(stored: Record, record: Record, step: int) -> list[Change]:
    """Changes of a run's settings up to and including a step.

    Args:
        stored: Record in the checkpoint that the run resumes from, with all earlier changes.
        record: Record with which the run continues.
        step: Training step of that checkpoint.
    """
    changes = [Change(step, *change) for change in differences(stored.run, record.run)]
    if stored.data and stored.data != record.data:
        changes.append(Change(step, DATA, stored.data, record.data))
    return [*stored.history, *changes]


def differences(stored: Any, new: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Differences between two values of records, except for missing arguments that the run binds late.

    Args:
        stored: Node or other value of the stored record.
        new: Corresponding value of the new record.
        path: Path of both values.

    Yields:
        Path, old value and new value of each difference, as text.
    """
    if not (isinstance(stored, Node) and isinstance(new, Node) and replace(stored, args={}) == replace(new, args={})):
        if stored != new:
            yield path, as_call(stored), as_call(new)
        return
    late = {name for names in LATE_BOUND.values() for name in names}
    for name in [*new.args, *(name for name in stored.args if name not in new.args and name not in late)]:
        argument_path = f"{path}.{name}".lstrip(".")
        if name in stored.args and name in new.args:
            yield from differences(stored.args[name], new.args[name], argument_path)
        else:
            yield argument_path, _or_default(stored, name), _or_default(new, name)


def as_call(value: Any) -> str:
    """A value of a record as text; a node becomes a call, such as `noise_geometric(sigma_max=10.0)`.

    Args:
        value: Node, tuple or scalar.
    """
    if isinstance(value, tuple):
        return f"({', '.join(map(as_call, value))})"
    if not isinstance(value, Node):
        return repr(value)
    arguments = ", ".join(f"{name}={as_call(argument)}" for name, argument in value.args.items())
    origin = f" of {value.file} (sha256 {value.sha256[:12]})" if value.file else ""
    return f"{value.name}({arguments}){origin}"


def _or_default(node: Node, name: str) -> str:
    return as_call(node.args[name]) if name in node.args else "its default"
