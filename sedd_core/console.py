"""What a run shows on the terminal: progress bars where there is one, plain lines where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

T = TypeVar("T")
_console = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line, as it is."""
    _console.print(text, markup=False)


def rule(title: str) -> None:
    """Print a line across the terminal with a title."""
    _console.rule(title, align="left")


def table(*columns: str, rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns, the first column to the left and the others to the right."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        say("  " + "  ".join(cells).rstrip())


def _bar(*columns: str) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        *(TextColumn(column) for column in columns),
        TimeRemainingColumn(),
        console=_console,
        disable=not _console.is_terminal,
        transient=True,
    )


@contextmanager
def counted(total: int, what: str) -> Iterator[Callable[[], None]]:
    """A progress bar, and a function to call after each of `total` things."""
    with _bar() as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def track(things: Sequence[T], what: str) -> Iterator[T]:
    """The things, with a progress bar while they are gone through."""
    with counted(len(things), what) as advance:
        for thing in things:
            yield thing
            advance()


def quiet(silent: bool = True) -> bool:
    """Print nothing from now on, or print again. Returns whether nothing was printed before."""
    before, _console.quiet = _console.quiet, silent
    return before


class TrainingProgress:
    """The training bar, or a line of figures now and then where there is no terminal."""

    def __init__(self, steps: int, first: int) -> None:
        """The bar of `steps` steps, of which `first` are done."""
        self._bar = _bar("{task.fields[figures]}")
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
        if not _console.is_terminal:
            say(line)
