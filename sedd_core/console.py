"""Terminal output: progress bars on a terminal, plain lines otherwise; always without control characters.

All output of the project goes through `say` and `complain`: samples, records, files and error messages can contain
escape codes that rewrite the screen. Files keep the raw text.
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
"""Replacement for characters that are not sent to a terminal."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""C0 except tab and newline, DEL, C1, bidirectional overrides and isolates, lone surrogates, noncharacters."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Re-raise the error: the program's entry chooses the exit code, where rich would exit with 1."""
        raise


_console = _Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def printable(text: str) -> str:
    """The text with each control character replaced by U+FFFD, except newlines and tabs.

    Escape sequences become visible and have no effect: "\\x1b[2J" becomes "\ufffd[2J".
    """
    return _CONTROL.sub(UNPRINTABLE, text)


def say(text: str) -> None:
    """Print a line to standard output, with control characters replaced."""
    _console.print(printable(text))


def complain(text: str) -> None:
    """Print a line to standard error, with control characters replaced, in every process and even if `quiet`."""
    print(printable(text), file=sys.stderr, flush=True)


def rule(title: str) -> None:
    """Print a horizontal line with a title."""
    _console.rule(Text(printable(title).replace("\n", " ")), align="left")


def table(*columns: str, rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the first column is aligned left, the others right.

    Args:
        *columns: Header of each column.
        rows: Cells of each row.
    """
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        say("  " + "  ".join(cells).rstrip())


def bar(*columns: str) -> Progress:
    """A progress bar; not displayed unless the output is a terminal.

    Args:
        *columns: Format of each additional column, with fields of the task: "{task.fields[loss]}".
    """
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
def progress_bar(total: int, description: str) -> Iterator[Callable[[], None]]:
    """Within: a progress bar. Yields the function that advances it by one of `total` units."""
    with bar() as progress:
        task = progress.add_task(printable(description), total=total)
        yield lambda: progress.advance(task)


def track(items: Sequence[T], description: str) -> Iterator[T]:
    """Iterate over items with a progress bar."""
    with progress_bar(len(items), description) as advance:
        for item in items:
            yield item
            advance()


def is_terminal() -> bool:
    """Whether the output is a terminal, where progress bars are displayed."""
    return _console.is_terminal


def quiet(silent: bool = True) -> bool:
    """Turn standard output off, as processes of rank above 0 do, or on again with silent=False.

    Returns:
        Whether it was off before.
    """
    before, _console.quiet = _console.quiet, silent
    return before
