"""Progress of training on the terminal."""

from __future__ import annotations

from typing import Any

from rich.progress import TaskID

from ..console import bar, is_terminal, say


class TrainingProgress:
    """A progress bar on a terminal; otherwise, the lines of the log.

    Args:
        steps: Number of steps of the run.
        first: Number of steps already done.
    """

    def __init__(self, steps: int, first: int) -> None:
        self._bar = bar("{task.fields[figures]}")
        self._task: TaskID = self._bar.add_task("training", total=steps, completed=first, figures="")

    def __enter__(self) -> TrainingProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)

    def step(self, step: int, figures: str) -> None:
        """Advance the bar.

        Args:
            step: Number of updates done.
            figures: Text beside the bar.
        """
        self._bar.update(self._task, completed=step, figures=figures)

    def log(self, line: str) -> None:
        """Print a line of the log, unless there is a bar."""
        if not is_terminal():
            say(line)
