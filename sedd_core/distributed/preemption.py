"""Graceful shutdown: a signal ends a run between two steps, with a checkpoint."""

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
"""Signals that request a stop: from a scheduler before it kills, from Ctrl-C, from a terminal that closes."""
SAVING = "Ctrl-C: the run saves and ends. A second Ctrl-C ends it at once, with nothing saved."


def handled_signals() -> list[signal.Signals]:
    """Signals to handle: those that the parent process did not set to be ignored, as `nohup` does with SIGHUP."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


class Stop:
    """Graceful shutdown: whether a signal requested this process to stop, and its exit code.

    The first signal determines the exit code.
    """

    def __init__(self) -> None:
        self.requested = self._interrupted = self._silenced = False
        self.code = STOPPED
        self.is_single_process = process_rank().world_size == 1 and "TORCHELASTIC_RUN_ID" not in os.environ
        """Whether no launcher started this process: launchers forward signals that the terminal has already sent."""

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Handle signals in this context: any number of them is one request to stop.

        Raises:
            KeyboardInterrupt: Second Ctrl-C in a single-process run, which exits at once.
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
        """Interrupt long work that does not change the state of training.

        Raises:
            Stopped: A signal requested this process to stop.
        """
        if self.requested:
            raise Stopped

    def _take(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            self._take_interrupt()
        elif number == getattr(signal, "SIGHUP", None):
            self._silenced |= not console.quiet()  # the terminal is gone: writing to it fails
        self.requested = True

    def _take_interrupt(self) -> None:
        if self.is_single_process and self._interrupted:
            raise KeyboardInterrupt
        if self.is_single_process:
            write_from_handler(SAVING)
        self.code = self.code if self.requested else INTERRUPTED
        self._interrupted = True


def write_from_handler(text: str) -> None:
    """Write a line to standard error from a signal handler, where Python's own file objects may be in use."""
    with suppress(OSError):  # a terminal that is gone
        os.write(2, f"\n{text}\n".encode())


def run_on_all_ranks(world: World, work: Callable[[], T]) -> list[T]:
    """Run `work` in every process. An exception in one ends all: see `World.agree`.

    Args:
        world: This process among those of the run.
        work: Function to run.

    Returns:
        Results of all processes, by rank.
    """
    return world.gather(world.agree(work))
