"""log.txt and metrics.jsonl of a run folder: how their lines look, and the only code that writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from ..files import side_file, writing
from ..record.figures import finite, short
from ..record.record import Change


class StepLines:
    """A file to whose end lines of steps are added; lines of other origin stay where they are.

    No run depends on it: a file that is damaged, unreadable or missing is a warning at most.
    """

    def __init__(self, path: Path, begin: bytes, step: bytes, clock: bytes) -> None:
        """Reads and writes nothing yet.

        Args:
            path: The file.
            begin: What every line of a step begins with.
            step: Pattern of the beginning of such a line; its group is the step.
            clock: Pattern of what a line says of the time of day: lines that differ only in it are the same.
        """
        self.path, self._begin = path, begin
        self._step, self._clock = re.compile(step), re.compile(clock)
        self._noted: set[bytes] = set()

    def reached(self) -> int | None:
        """The last step that has a line; 0 for a file without lines of steps, None where there is no file."""
        if not self.path.is_file():
            return None
        return max((step for step in map(self._step_of, self._read()) if step is not None), default=0)

    def open(self, step: int) -> None:
        """Remove what a run that was interrupted wrote after `step`, and the line that it did not finish."""
        before = self._read()
        kept = [line for line in before if not self._later(line, step)]
        kept = [line if line.endswith(b"\n") else line + b"\n" for line in kept]
        self._noted = {self._said(line.rstrip(b"\n")) for line in kept}
        if kept != before:
            with side_file(self.path), writing(self.path) as temporary:
                temporary.write_bytes(b"".join(kept))

    def note(self, line: str) -> None:
        """Append a line, unless it stands there already.

        Raises:
            OSError: The disk is full.
        """
        text = line.encode()
        if self._said(text) not in self._noted:
            self._noted.add(self._said(text))
            with side_file(self.path), self.path.open("ab") as file:
                file.write(text + b"\n")

    def _read(self) -> list[bytes]:
        """The lines with their ends; none where there is no file, or none that can be read."""
        with side_file(self.path):
            if self.path.exists():
                with self.path.open("rb") as file:
                    return file.readlines()
        return []

    def _said(self, line: bytes) -> bytes:
        return self._clock.sub(b"", line)

    def _step_of(self, line: bytes) -> int | None:
        """The step of a run's own line; None for a foreign one."""
        match = self._step.match(line)
        return int(match[1]) if match else None

    def _later(self, line: bytes, step: int) -> bool:
        """Whether a line is of a later step, or the beginning of a line that was not finished."""
        if not line.endswith(b"\n") and (line.startswith(self._begin) or self._begin.startswith(line)):
            return True
        own = self._step_of(line)
        return own is not None and own > step


class RunLog(StepLines):
    """log.txt, for people; and beside it metrics.jsonl, each line of it an object with the same figures."""

    _CHANGE = re.compile(rb"changed after step +(\d+)  ")

    def __init__(self, folder: Path) -> None:
        """Reads and writes nothing yet.

        Args:
            folder: The run folder.
        """
        super().__init__(folder / "log.txt", b"step ", rb"step +(\d+)(?:/\d+)?  ", rb"  at \d{4}-\d\d-\d\d \d\d:.*$")
        self.metrics = StepLines(folder / "metrics.jsonl", b'{"step": ', rb'\{"step": (\d+), ', rb'"time": "[^"]*", ')

    def open(self, step: int) -> None:
        """See `StepLines.open`; of both files."""
        super().open(step)
        self.metrics.open(step)

    def measure(self, line: str, figures: Mapping[str, float], step: int) -> None:
        """Append a line to log.txt, and its figures to metrics.jsonl: by their names, null where not finite.

        Raises:
            OSError: The disk is full.
        """
        self.note(line)
        time = datetime.now().astimezone().isoformat(timespec="seconds")
        values = {name: finite(value) for name, value in figures.items()}
        self.metrics.note(json.dumps({"step": step, "time": time, **values}, allow_nan=False))

    def _later(self, line: bytes, step: int) -> bool:
        change = self._CHANGE.match(line)  # changes after the step itself are noted anew
        return super()._later(line, step) or (change is not None and int(change[1]) >= step)


def figures_line(step: int, steps: int, figures: Mapping[str, float], seconds_left: float) -> str:
    """A step's figures in a line, by the last part of their names; the time of day, and about how long is left."""
    shown = [f"{name.rpartition('/')[2]} {short(value)}" for name, value in figures.items()]
    return f"step {step:>7}/{steps}  {'  '.join(shown)}{clock()}  left {timedelta(seconds=round(seconds_left))}"


def clock() -> str:
    """The end of a line: the date and the time of day here."""
    return f"  at {datetime.now():%Y-%m-%d %H:%M:%S}"


def change_line(change: Change) -> str:
    """A change of a setting in a line."""
    return f"changed after step {change.step:>7}  {change.path}: {change.old} -> {change.new}"
