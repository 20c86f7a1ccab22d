"""Being told to stop: signals end a run between two steps, with a checkpoint."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from .distributed import World
from .errors import Stopped

T = TypeVar("T")
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What schedulers send some time before they kill."""


class Stop:
    """Whether this process was told to stop."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Within: the signals are taken as a request, however many come.

        Whoever started the run may pass on to each process what the machine has sent it already.
        """
        before = {number: signal.signal(number, self._take) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def check(self) -> None:
        """Raise Stopped when this process was told to stop: for long work that changes nothing of the training."""
        if self.asked:
            raise Stopped

    def _take(self, number: int, frame: Any) -> None:
        self.asked = True


def together(world: World, work: Callable[[], T]) -> list[T]:
    """Every process's result, by rank; Stopped on all of them when it was raised on one, so that none waits."""
    try:
        result, stopped = work(), False
    except Stopped:
        result, stopped = None, True
    results = world.gather((result, stopped))
    if any(stopped for _, stopped in results):
        raise Stopped
    return [result for result, _ in results]  # pyright: ignore[reportReturnType]
