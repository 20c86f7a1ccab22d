"""The one exception for mistakes that a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

STOPPED = 143
"""The exit code of a run that was told to stop, as of a process that SIGTERM ended."""


class UserError(Exception):
    """A mistake of the user's: says what is wrong, what there is instead, and what to do.

    The command line prints it without a traceback and exits with 1. Everything else is a bug and keeps
    its traceback.
    """


class Told(UserError):
    """A mistake that another process has told already."""


class Stopped(Exception):
    """The run was told to stop, and everything of it is saved."""


def nearest(name: str, names: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the closest of `names`, or nothing when none is close."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
