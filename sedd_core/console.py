"""What a run shows on the terminal: progress bars where there is one, plain lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from .numerics import LN2

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


class TrainingProgress:
    """The training bar: loss, bits per character, tokens a second, time left; and the same in log.txt.

    The figures shown are means over the steps since the last `log`.
    """

    def __init__(self, steps: int, log: Path) -> None:
        self.steps = steps
        self._file = log.open("a", encoding="utf-8")
        self._bar = _bar("{task.fields[figures]}")
        self._task: TaskID = self._bar.add_task("training", total=steps, figures="")
        self._losses: list[float] = []
        self._since = time.monotonic()
        self._step = 0
        self._latest: dict[str, float] = {}

    def __enter__(self) -> TrainingProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)
        self._file.close()

    def step(self, step: int, nats_per_token: float, tokens_per_character: float, grad_norm: float) -> None:
        """After each update."""
        self._step = step
        self._losses.append(nats_per_token)
        mean = sum(self._losses) / len(self._losses)
        self._latest = {
            "loss": mean,
            "bits_per_character": mean * tokens_per_character / LN2,
            "grad_norm": grad_norm,
        }
        figures = f"loss {mean:.3f} nats/token  ~{self._latest['bits_per_character']:.2f} bits/character"
        self._bar.update(self._task, completed=step, figures=figures)

    def log(self, tokens: int) -> None:
        """Write the means since the last call, in which `tokens` tokens were seen."""
        speed = tokens / (time.monotonic() - self._since)
        figures = "  ".join(f"{name} {value:.4f}" for name, value in self._latest.items())
        line = f"step {self._step:>7}/{self.steps}  {figures}  tokens/s {speed:.0f}"
        self._file.write(line + "\n")
        self._file.flush()
        if not _console.is_terminal:
            say(line)
        self._losses, self._since = [], time.monotonic()
