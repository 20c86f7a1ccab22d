"""TensorBoard monitor: metrics, samples and settings of a run as event files."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Any

from sedd_core import hookimpl
from sedd_core.files import writing
from sedd_core.stages import Monitor

SUFFIX = ".sedd"
"""Suffix of the event files written by this plugin; only these are ever modified."""
WIDTH = 110
"""Maximum number of characters per line of text."""
wrap_line = partial(wrap, width=WIDTH, drop_whitespace=False, replace_whitespace=False, expand_tabs=False)


class TensorBoard(Monitor):
    """TensorBoard monitor: writes event files to tensorboard/ in the run folder.

    Every name has one point per step, even after a run is killed and resumed: `start` removes the points of later
    steps, and a point that is logged again replaces the earlier one.
    """

    def __init__(self) -> None:
        self._folder, self._step = Path(), 0
        self._last_points: dict[str, bytes] = {}
        self._file: Any = None
        self._records: Any = None

    def start(self, folder: Path, step: int) -> None:
        """Remove the points of steps after `step` from existing event files, and open a new event file."""
        from tensorboard.summary.writer.record_writer import (
            RecordWriter,
        )  # deferred: slow, and needed only by running monitors

        self._folder, self._step = folder / "tensorboard", step
        self._folder.mkdir(parents=True, exist_ok=True)
        _rewrite(self._folder, lambda event: event.step <= step and not _is_result(event))
        last = [event for path in _files(self._folder) for _, event in _events(path) if event.step == step]
        self._last_points = {_tag(event): _content(event) for event in last if event.summary.value}
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}{SUFFIX}"
        self._file = (self._folder / name).open("xb")
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics: one chart per name, one section per group."""
        from torch.utils.tensorboard.summary import scalar

        for name, value in values.items():
            self._add(scalar(name, value), step)
        self._file.flush()

    def text(self, name: str, text: str, step: int) -> None:
        """Log a text, indented so that Markdown shows it verbatim; long lines are wrapped."""
        from torch.utils.tensorboard.summary import text as text_summary

        lines = [piece for line in text.splitlines() for piece in wrap_line(line) or [""]]
        self._add(text_summary(name, "\n".join(f"    {line}" for line in lines)), step)
        self._file.flush()

    def hyperparameters(self, values: Mapping[str, bool | int | float | str], figures: Mapping[str, float]) -> None:
        """Log settings and results to the event file of the run; `add_hparams` would create a separate run."""
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(dict(values), dict(figures)):
            self._write(summary=summary)

    def flush(self) -> None:
        """Write all events to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close the event file."""
        self.flush()
        self._file.close()

    def _add(self, summary: Any, step: int) -> None:
        """Write a point; at the step that the run resumed after, it replaces an existing point of the same name."""
        tag = summary.value[0].tag
        existing = self._last_points.pop(tag, None) if step == self._step else None
        if existing == summary.SerializeToString():
            return
        if existing is not None:
            self._file.flush()
            _rewrite(self._folder, lambda event: event.step != step or _tag(event) != tag, skip=self._file.name)
        self._write(step=step, summary=summary)

    def _write(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] - generated

        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())


def _files(folder: Path) -> list[Path]:
    """The event files of this plugin, oldest first."""
    return sorted(folder.glob(f"events.out.tfevents.*{SUFFIX}"))


def _events(path: Path) -> Iterator[tuple[bytes, Any]]:
    """The records of an event file as bytes and as parsed events, up to the first damaged record."""
    from google.protobuf.message import DecodeError
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] - generated

    for record in RawEventFileLoader(str(path)).Load():
        try:
            yield record, Event.FromString(record)
        except DecodeError:
            return


def _rewrite(folder: Path, keep: Callable[[Any], bool], skip: str = "") -> None:
    """Atomically reduce each event file to the points to keep; delete files without any. `skip`: a path to omit."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    for path in _files(folder):
        if str(path) == skip:
            continue
        kept = [keep(event) for _, event in _events(path) if event.summary.value]
        if not any(kept):
            path.unlink()
        elif not all(kept):
            with writing(path) as temporary, temporary.open("wb") as file:
                records = RecordWriter(file)
                for record, event in _events(path):
                    if not event.summary.value or keep(event):
                        records.write(record)


def _is_result(event: Any) -> bool:
    """Whether an event belongs to the HParams tab, which is written anew at the end of a run."""
    return any(value.tag.startswith("_hparams_/") for value in event.summary.value)


def _tag(event: Any) -> str:
    """The name of a point; empty for other events."""
    return event.summary.value[0].tag if event.summary.value else ""


def _content(event: Any) -> bytes:
    """The name and value of a point, serialized."""
    return event.summary.SerializeToString()


@hookimpl
def sedd_monitor() -> type[Monitor]:
    """The class of this plugin."""
    return TensorBoard
