"""Reading the microbatches of coming steps while the current one trains."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch

from ..stages import Batch

AHEAD = 8
"""Number of microbatches that are read, or being read, before they are taken."""


class Prefetch:
    """A thread that reads the coming microbatches of a process in order; a context, which ends the thread.

    A microbatch is a function of its step and number: one that is taken out of order discards what was read ahead, so
    that nothing depends on where reading began.

    Args:
        read: Reads a microbatch, given its step and its number within the step; called in the thread.
        count: Number of microbatches per step.
        steps: Number of steps; nothing is read beyond the last.
        device: Device to which the caller moves batches; on a GPU, they are read into pinned memory.
    """

    def __init__(self, read: Callable[[int, int], Batch], count: int, steps: int, device: torch.device) -> None:
        self._read, self._count, self._end = read, count, steps * count
        self._device = device
        self._next = 0
        """Position of the microbatch to take next, counted from step 0."""
        self._ahead: deque[Future[Batch]] = deque()
        self._thread = ThreadPoolExecutor(1, "read-ahead")

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def take(self, step: int, number: int) -> Batch:
        """The microbatch `number` of a step, on the CPU; waits until it is read.

        Args:
            step: Index of the step, from 0.
            number: Index of the microbatch within the step.

        Raises:
            Exception: The error of `read`, once; a later call reads again.
        """
        position = step * self._count + number
        if position != self._next:
            self._discard(position)
        end = max(position + 1, min(position + AHEAD, self._end))
        for coming in range(position + len(self._ahead), end):
            self._ahead.append(self._thread.submit(self._read_one, *divmod(coming, self._count)))
        self._next = position + 1
        return self._ahead.popleft().result()

    def _read_one(self, step: int, number: int) -> Batch:
        if self._device.type != "cuda":
            return self._read(step, number)
        torch.cuda.set_device(self._device)  # a thread begins on GPU 0: pinning there would open a second context
        return self._read(step, number).pinned()

    def _discard(self, position: int) -> None:
        """Forget what was read ahead; continue at a position."""
        for future in self._ahead:
            future.cancel()
        self._ahead.clear()
        self._next = position
