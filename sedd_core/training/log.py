"""log.txt and metrics.jsonl of a run folder: their line formats, and the only code that writes them."""

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
    """A file of lines that belong to steps; lines of other origin are kept.

    No run depends on the file: if it is damaged, unreadable or missing, this is at most a warning.

    Args:
        path: The file. Constructing this object neither reads nor writes it.
        begin: Prefix of every line of a step.
        step: Pattern of the beginning of such a line; its group is the step.
        clock: Pattern of the part of a line that states the time of day; lines that differ only there are duplicates.
    """

    def __init__(self, path: Path, begin: bytes, step: bytes, clock: bytes) -> None:
        self.path, self._begin = path, begin
        self._step, self._clock = re.compile(step), re.compile(clock)
        self._written: set[bytes] = set()

    def reached(self) -> int | None:
        """The last step that has a line; 0 for a file without lines of steps, None without a file."""
        if not self.path.is_file():
            return None
        return max((step for step in map(self._step_of, self._read()) if step is not None), default=0)

    def open(self, step: int) -> None:
        """Remove the lines that an interrupted run wrote after a step, and an incomplete last line.

        Args:
            step: Number of steps done at the start of this run.
        """
        before = self._read()
        kept = [line for line in before if not self._is_later(line, step)]
        kept = [line if line.endswith(b"\n") else line + b"\n" for line in kept]
        self._written = {self._without_clock(line.rstrip(b"\n")) for line in kept}
        if kept != before:
            with side_file(self.path), writing(self.path) as temporary:
                temporary.write_bytes(b"".join(kept))

    def append(self, line: str) -> None:
        """Append a line, unless the file contains it already.

        Args:
            line: The line, without its newline.

        Raises:
            OSError: The disk is full.
        """
        text = line.encode()
        if self._without_clock(text) not in self._written:
            self._written.add(self._without_clock(text))
            with side_file(self.path), self.path.open("ab") as file:
                file.write(text + b"\n")

    def _read(self) -> list[bytes]:
        """The lines with their newlines; none if the file is missing or unreadable."""
        with side_file(self.path):
            if self.path.exists():
                with self.path.open("rb") as file:
                    return file.readlines()
        return []

    def _without_clock(self, line: bytes) -> bytes:
        return self._clock.sub(b"", line)

    def _step_of(self, line: bytes) -> int | None:
        """The step of a line that a run wrote; None for any other line."""
        match = self._step.match(line)
        return int(match[1]) if match else None

    def _is_later(self, line: bytes, step: int) -> bool:
        """Whether a line belongs to a later step, or is the beginning of an incomplete line."""
        if not line.endswith(b"\n") and (line.startswith(self._begin) or self._begin.startswith(line)):
            return True
        own = self._step_of(line)
        return own is not None and own > step


class RunLog(StepLines):
    """log.txt, for people, and metrics.jsonl, with the same figures as one JSON object per line.

    Args:
        folder: The run folder. Constructing this object neither reads nor writes a file.
    """

    _CHANGE = re.compile(rb"changed after step +(\d+)  ")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "log.txt", b"step ", rb"step +(\d+)(?:/\d+)?  ", rb"  at \d{4}-\d\d-\d\d \d\d:.*$")
        self.metrics = StepLines(folder / "metrics.jsonl", b'{"step": ', rb'\{"step": (\d+), ', rb'"time": "[^"]*", ')

    def open(self, step: int) -> None:
        """Open both files; see `StepLines.open`."""
        super().open(step)
        self.metrics.open(step)

    def write_metrics(self, line: str, figures: Mapping[str, float], step: int) -> None:
        """Append a line to log.txt and its figures to metrics.jsonl, where a figure that is not finite is null.

        Args:
            line: Line for log.txt.
            figures: Values by chart name.
            step: Number of updates done.

        Raises:
            OSError: The disk is full.
        """
        self.append(line)
        time = datetime.now().astimezone().isoformat(timespec="seconds")
        values = {name: finite(value) for name, value in figures.items()}
        self.metrics.append(json.dumps({"step": step, "time": time, **values}, allow_nan=False))

    def _is_later(self, line: bytes, step: int) -> bool:
        change = self._CHANGE.match(line)  # changes at `step` itself are written again
        return super()._is_later(line, step) or (change is not None and int(change[1]) >= step)


def figures_line(step: int, steps: int, figures: Mapping[str, float], seconds_left: float) -> str:
    """Format the figures of a step as a line of log.txt.

    Args:
        step: Number of updates done.
        steps: Number of updates of the run.
        figures: Values by chart name; the line shows the part after the last slash.
        seconds_left: Estimated time to the end of the run, in seconds.
    """
    shown = [f"{name.rpartition('/')[2]} {short(value)}" for name, value in figures.items()]
    return f"step {step:>7}/{steps}  {'  '.join(shown)}{clock()}  left {timedelta(seconds=round(seconds_left))}"


def clock() -> str:
    """The end of a line: local date and time."""
    return f"  at {datetime.now():%Y-%m-%d %H:%M:%S}"


def change_line(change: Change) -> str:
    """Format a changed setting as a line of log.txt."""
    return f"changed after step {change.step:>7}  {change.path}: {change.old} -> {change.new}"
