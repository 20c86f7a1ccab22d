"""How a run differs from what it was: between two records, and over the steps of one run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .record import FILLED_IN, Change, Record

DATA = "data (its content)"
"""The path of a change of the data's fingerprint."""
_DEFAULT = "its default"


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
    """Path, old and new value, as text, of whatever differs; what only the run filled in is no difference."""
    if isinstance(stored, dict) and isinstance(new, dict) and "args" in stored and "args" in new:
        names = [{key: value for key, value in node.items() if key != "args"} for node in (stored, new)]
        if names[0] != names[1]:
            yield path, shown(stored), shown(new)
            return
        for name, value in new["args"].items():
            here = f"{path}.{name}".lstrip(".")
            if name in stored["args"]:
                yield from differences(stored["args"][name], value, here)
            else:
                yield here, _DEFAULT, shown(value)
        yield from (
            (f"{path}.{name}".lstrip("."), shown(value), _DEFAULT)
            for name, value in stored["args"].items()
            if name not in new["args"] and name not in FILLED_IN
        )
    elif stored != new:
        yield path, shown(stored), shown(new)


def shown(value: Any) -> str:
    """A value of a record as text: `noise_geometric(sigma_max=10.0)` for a stage, with all that was set."""
    if not isinstance(value, dict):
        return repr(value)
    if "tuple" in value:
        return f"({', '.join(map(shown, value['tuple']))})"
    name = value.get("plugin", value.get("class", value.get("core")))
    arguments = ", ".join(f"{key}={shown(argument)}" for key, argument in value.get("args", {}).items())
    origin = f" of {value['file']} (sha256 {value['sha256'][:12]})" if "file" in value else ""
    return f"{name}({arguments}){origin}"
