"""Being told to stop: signals end a run between two steps, with a checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from .console import say
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
        """Within: the signals are taken as a request; a second SIGTERM ends the process at once.

        Under SLURM it does not: SLURM and srun each send one, and SIGKILL later.
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
        if self.asked and number == signal.SIGTERM and "SLURM_JOB_ID" not in os.environ:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
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


def requeue(limit: int) -> None:
    """Under SLURM: put the job back into the queue, at most `limit` times. A job that ends by itself is not."""
    job, restarts = os.environ.get("SLURM_JOB_ID"), int(os.environ.get("SLURM_RESTART_COUNT", 0))
    if job is None or limit == 0:
        return
    if restarts >= limit:
        say(f"The job was requeued {restarts} times already: not again (slurm.requeue).")
        return
    result = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    say(f"Requeued job {job}." if result.returncode == 0 else f"warning: scontrol requeue: {result.stderr.strip()}")
