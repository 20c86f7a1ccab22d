"""log.txt of a run folder: how its lines look, and the only code that writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..files import side_file, writing
from ..record import Change

_STEP = re.compile(rb"step +(\d+)(?:/\d+)?  ")
_CHANGE = re.compile(rb"changed after step +(\d+)  ")
"""How the lines of a run begin; any other line is a foreign one."""


class RunLog:
    """log.txt, and the only code that reads or writes it; lines of other origin stay where they are.

    No run depends on it: a log that is damaged, unreadable or missing is a warning at most.
    """

    def __init__(self, folder: Path) -> None:
        """Reads and writes nothing yet.

        Args:
            folder: The run folder.
        """
        self.path = folder / "log.txt"
        self._noted: set[bytes] = set()

    def reached(self) -> int | None:
        """The last step that has a line; 0 for a log without lines of steps, None where there is no log."""
        if not self.path.is_file():
            return None
        return max((step for step in map(_step, self._read()) if step is not None), default=0)

    def open(self, step: int) -> None:
        """Remove what a run that was interrupted wrote after `step`, and the line that it did not finish."""
        before = self._read()
        kept = [line for line in before if not _later(line, step)]
        kept = [line if line.endswith(b"\n") else line + b"\n" for line in kept]
        self._noted = {line.rstrip(b"\n") for line in kept}
        if kept != before:
            with side_file(self.path), writing(self.path) as temporary:
                temporary.write_bytes(b"".join(kept))

    def note(self, line: str) -> None:
        """Append a line, unless it stands there already.

        Raises:
            OSError: The disk is full.
        """
        text = line.encode()
        if text not in self._noted:
            self._noted.add(text)
            with side_file(self.path), self.path.open("ab") as file:
                file.write(text + b"\n")

    def _read(self) -> list[bytes]:
        """The lines with their ends; none where there is no log, or none that can be read."""
        with side_file(self.path):
            if self.path.exists():
                with self.path.open("rb") as file:
                    return file.readlines()
        return []


def figures_line(step: int, steps: int, figures: Mapping[str, float]) -> str:
    """A step's figures in a line, by the last part of their names."""
    shown = [
        f"{name.rpartition('/')[2]} {value:{'.0f' if value >= 1000 else '.4g'}}" for name, value in figures.items()
    ]
    return f"step {step:>7}/{steps}  {'  '.join(shown)}"


def change_line(change: Change) -> str:
    """A change of a setting in a line."""
    return f"changed after step {change.step:>7}  {change.path}: {change.old} -> {change.new}"


def _step(line: bytes) -> int | None:
    """The step of a run's own line; None for a foreign one."""
    match = _STEP.match(line)
    return int(match[1]) if match else None


def _later(line: bytes, step: int) -> bool:
    """Whether a line is of a later step, or the beginning of a line that was not finished."""
    if not line.endswith(b"\n") and (line.startswith(b"step ") or b"step ".startswith(line)):
        return True
    own, change = _step(line), _CHANGE.match(line)
    return own > step if own is not None else change is not None and int(change[1]) >= step  # changes are noted anew
