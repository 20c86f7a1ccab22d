"""Runs in TensorBoard."""

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
"""Ends the names of the event files that this plugin writes, and so may change; others are not touched."""
WIDTH = 110
"""Characters of a line of text."""
lines_of = partial(wrap, width=WIDTH, drop_whitespace=False, replace_whitespace=False, expand_tabs=False)


class TensorBoard(Monitor):
    """Writes event files to the run folder's tensorboard/: one point for each name and step, whatever was killed."""

    def __init__(self) -> None:
        self._folder, self._step = Path(), 0
        self._there: dict[str, bytes] = {}
        self._file: Any = None
        self._records: Any = None

    def start(self, folder: Path, step: int) -> None:
        """Remove the events of steps after `step` from the event files that are there, and open another one."""
        from tensorboard.summary.writer.record_writer import RecordWriter  # only where a run is watched

        self._folder, self._step = folder / "tensorboard", step
        self._folder.mkdir(parents=True, exist_ok=True)
        _rewrite(self._folder, lambda event: event.step <= step and not _of_results(event))
        last = [event for path in _files(self._folder) for _, event in _events(path) if event.step == step]
        self._there = {_tag(event): _content(event) for event in last if event.summary.value}
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}{SUFFIX}"
        self._file = (self._folder / name).open("xb")
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One chart for each name, one section for each group."""
        from torch.utils.tensorboard.summary import scalar

        for name, value in values.items():
            self._add(scalar(name, value), step)
        self._file.flush()

    def text(self, name: str, text: str, step: int) -> None:
        """Indented, which Markdown shows unchanged; a long line continues in the next."""
        from torch.utils.tensorboard.summary import text as text_summary

        lines = [piece for line in text.splitlines() for piece in lines_of(line) or [""]]
        self._add(text_summary(name, "\n".join(f"    {line}" for line in lines)), step)
        self._file.flush()

    def hyperparameters(self, values: Mapping[str, bool | int | float | str], figures: Mapping[str, float]) -> None:
        """In this run's own event file: `add_hparams` would make a second run of it."""
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(dict(values), dict(figures)):
            self._write(summary=summary)

    def flush(self) -> None:
        """Bring all events to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close the event file."""
        self.flush()
        self._file.close()

    def _add(self, summary: Any, step: int) -> None:
        """Write a point. One of the step that the run resumed after may be there already; a new value replaces it."""
        tag = summary.value[0].tag
        before = self._there.pop(tag, None) if step == self._step else None
        if before == summary.SerializeToString():
            return
        if before is not None:
            self._file.flush()
            _rewrite(self._folder, lambda event: event.step != step or _tag(event) != tag, but=self._file.name)
        self._write(step=step, summary=summary)

    def _write(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] - generated

        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"events.out.tfevents.*{SUFFIX}"))


def _events(path: Path) -> Iterator[tuple[bytes, Any]]:
    """The records of an event file, raw and read, up to where a kill or the disk has damaged it."""
    from google.protobuf.message import DecodeError
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] - generated

    for record in RawEventFileLoader(str(path)).Load():
        try:
            yield record, Event.FromString(record)
        except DecodeError:
            return


def _rewrite(folder: Path, kept: Callable[[Any], bool], but: str = "") -> None:
    """Leave only the points to keep in the event files, each of them whole at any time; remove those without any."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    for path in _files(folder):
        if str(path) == but:
            continue
        points = [kept(event) for _, event in _events(path) if event.summary.value]
        if not any(points):
            path.unlink()
        elif not all(points):
            with writing(path) as temporary, temporary.open("wb") as file:
                records = RecordWriter(file)
                for record, event in _events(path):
                    if not event.summary.value or kept(event):
                        records.write(record)


def _of_results(event: Any) -> bool:
    """Of the HParams tab, which the end of a run writes anew."""
    return any(value.tag.startswith("_hparams_/") for value in event.summary.value)


def _tag(event: Any) -> str:
    return event.summary.value[0].tag if event.summary.value else ""


def _content(event: Any) -> bytes:
    return event.summary.SerializeToString()


@hookimpl
def sedd_monitor() -> type[Monitor]:
    """The class of this plugin."""
    return TensorBoard
