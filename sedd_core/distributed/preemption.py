"""Graceful stop: a signal ends a run between two steps, with a checkpoint."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from .. import console
from ..errors import INTERRUPTED, STOPPED, Stopped
from .rank import process_rank
from .world import World

T = TypeVar("T")
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT", "SIGHUP") if hasattr(signal, name)]
"""What schedulers send some time before they kill, Ctrl-C, and a terminal that closes."""
SAVING = "Ctrl-C: the run saves and ends. A second Ctrl-C ends it at once, with nothing saved."


def handled_signals() -> list[signal.Signals]:
    """The signals that whoever started this process left it to heed: `nohup` ignores SIGHUP."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


class Stop:
    """Whether a signal requested this process to stop, and the exit code that the first one asks for."""

    def __init__(self) -> None:
        self.requested = self._interrupted = self._silenced = False
        self.code = STOPPED
        self.alone = process_rank().world_size == 1 and "TORCHELASTIC_RUN_ID" not in os.environ
        """Not a worker: whoever starts workers passes on signals that the terminal has sent them already."""

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Within: any number of signals is one request; but a process alone takes a second Ctrl-C as "at once".

        Raises:
            KeyboardInterrupt: A second Ctrl-C, in a process alone.
        """
        before = {number: signal.signal(number, self._take) for number in handled_signals()}
        try:
            yield self
        finally:
            if self._silenced:
                console.quiet(False)
            for number, handler in before.items():
                signal.signal(number, handler)

    def check(self) -> None:
        """Raise Stopped when this process was told to stop: for long work that changes nothing of the training."""
        if self.requested:
            raise Stopped

    def _take(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            self._take_interrupt()
        elif number == getattr(signal, "SIGHUP", None):
            self._silenced |= not console.quiet()  # the terminal is gone: writing to it fails
        self.requested = True

    def _take_interrupt(self) -> None:
        if self.alone and self._interrupted:
            raise KeyboardInterrupt
        if self.alone:
            write_from_handler(SAVING)
        self.code = self.code if self.requested else INTERRUPTED
        self._interrupted = True


def write_from_handler(text: str) -> None:
    """Write a line to standard error from within a signal handler, where Python's own files may be in use."""
    with suppress(OSError):  # a terminal that is gone
        os.write(2, f"\n{text}\n".encode())


def run_on_all_ranks(world: World, work: Callable[[], T]) -> list[T]:
    """Every process's result, by rank; what is raised in one ends each: see `World.agree`."""
    return world.gather(world.agree(work))
