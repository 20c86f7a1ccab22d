"""The one exception for mistakes that a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

STOPPED = 143
"""Exit code of a run that stopped on a signal with its state saved: that of a process ended by SIGTERM."""
INTERRUPTED = 130
"""Exit code of a run that Ctrl-C ended, with its state saved or without: that of a process ended by SIGINT."""


class UserError(Exception):
    """A mistake of the user's: says what is wrong, what there is instead, and what to do.

    The command line prints it without a traceback and exits with 1. Everything else is a bug and keeps
    its traceback.
    """


class Told(UserError):
    """A mistake that another process has told already."""


class Stopped(Exception):
    """The run ended early because a signal requested it.

    Args:
        code: The process's exit code: STOPPED or INTERRUPTED.
    """

    def __init__(self, code: int = STOPPED) -> None:
        super().__init__(code)
        self.code = code


def nearest(name: str, names: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the closest of `names`, or nothing when none is close."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
