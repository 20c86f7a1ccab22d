"""Terminal output: progress bars on a terminal, plain lines otherwise; always without control characters.

Everything that the project prints goes through `say` and `complain`: texts of samples, records, files and errors come
from elsewhere, and an escape code in them could rewrite the screen. Files keep the raw text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")
UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
"""What stands for a character that no terminal should be sent."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""C0 without tab and newline, DEL, C1, the overrides of writing direction, lone surrogates, noncharacters."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise it, for the program's entry to end with its exit code; rich would end the process with 1."""
        raise


_console = _Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def printable(text: str) -> str:
    """The text with U+FFFD for each character that would control a terminal instead of showing there.

    Newlines and tabs stay. Escape sequences become visible, without effect: "\\x1b[2J" becomes "\ufffd[2J".
    """
    return _CONTROL.sub(UNPRINTABLE, text)


def say(text: str) -> None:
    """Print a line, its control characters replaced."""
    _console.print(printable(text))


def complain(text: str) -> None:
    """Print a line to standard error, its control characters replaced."""
    print(printable(text), file=sys.stderr, flush=True)


def rule(title: str) -> None:
    """Print a line across the terminal with a title."""
    _console.rule(Text(printable(title).replace("\n", " ")), align="left")


def table(*columns: str, rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns, the first column to the left and the others to the right."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        say("  " + "  ".join(cells).rstrip())


def bar(*columns: str) -> Progress:
    """A progress bar with further columns, in rich's markup of tasks; invisible where there is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        *(TextColumn(column, markup=False) for column in columns),
        TimeRemainingColumn(),
        console=_console,
        disable=not _console.is_terminal,
        transient=True,
    )


@contextmanager
def progress_bar(total: int, what: str) -> Iterator[Callable[[], None]]:
    """A progress bar, and a function to call after each of `total` things."""
    with bar() as progress:
        task = progress.add_task(printable(what), total=total)
        yield lambda: progress.advance(task)


def track(things: Sequence[T], what: str) -> Iterator[T]:
    """The things, with a progress bar while they are gone through."""
    with progress_bar(len(things), what) as advance:
        for thing in things:
            yield thing
            advance()


def is_terminal() -> bool:
    """Whether the output is a terminal, on which bars are shown."""
    return _console.is_terminal


def quiet(silent: bool = True) -> bool:
    """Print nothing from now on, or print again. Returns whether nothing was printed before."""
    before, _console.quiet = _console.quiet, silent
    return before
