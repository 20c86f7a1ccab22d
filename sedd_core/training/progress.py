"""The progress of training on the terminal."""

from __future__ import annotations

from typing import Any

from rich.progress import TaskID

from ..console import bar, is_terminal, say


class TrainingProgress:
    """The training bar, or a line of figures now and then where there is no terminal."""

    def __init__(self, steps: int, first: int) -> None:
        """The bar of `steps` steps, of which `first` are done."""
        self._bar = bar("{task.fields[figures]}")
        self._task: TaskID = self._bar.add_task("training", total=steps, completed=first, figures="")

    def __enter__(self) -> TrainingProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)

    def step(self, step: int, figures: str) -> None:
        """After each update: what the bar shows beside it."""
        self._bar.update(self._task, completed=step, figures=figures)

    def log(self, line: str) -> None:
        """Print a line of figures where there is no bar."""
        if not is_terminal():
            say(line)
