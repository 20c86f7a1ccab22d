"""Errors that the user can correct: mistakes and machine failures become one exception, `UserError`."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

STOPPED = 143
"""Exit code of a run that a signal stopped after saving: the code of a process ended by SIGTERM."""
INTERRUPTED = 130
"""Exit code of a run that Ctrl-C ended, saved or not: the code of a process ended by SIGINT."""


class UserError(Exception):
    """An error that the user can correct: its message states what is wrong, the alternatives, and what to do.

    The command line prints it without a traceback and exits with code 1. Any other exception is a bug and keeps its
    traceback.
    """


class ReportedElsewhere(UserError):
    """An error whose message another process has printed already."""


class Stopped(Exception):
    """The run ended early because a signal requested it.

    Args:
        code: Exit code of the process: STOPPED or INTERRUPTED.
    """

    def __init__(self, code: int = STOPPED) -> None:
        super().__init__(code)
        self.code = code


def nearest(name: str, names: Iterable[str]) -> str:
    """Suggest a correction of a misspelled name.

    Args:
        name: Unknown name.
        names: Known names.

    Returns:
        `" Did you mean 'x'?"` for a known name that begins with `name` or is similar; "" for none.
    """
    known = list(names)
    completions = [candidate for candidate in known if name and candidate.startswith(name)]
    close = completions or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


_REMEDIES = {
    "Free some space, or write to another disk": ("ENOSPC", "EDQUOT", "EFBIG"),
    "Check the disk or the network file system": (
        *("EIO", "ESTALE", "EREMOTEIO", "ENODEV", "ENXIO", "ENOTCONN", "ENOLINK", "ECOMM", "EUCLEAN"),
        *("ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ECONNRESET", "ECONNREFUSED"),
    ),
    "Change its permissions, or use another path": ("EROFS", "EACCES", "EPERM"),
    "Raise the limit (ulimit -n), or start fewer processes": ("EMFILE", "ENFILE", "EAGAIN", "ENOLCK"),
    "Free some memory, or start fewer processes": ("ENOMEM",),
    "Use a shorter path without circular links": ("ENAMETOOLONG", "ELOOP"),
}
"""System errors that are machine failures, by what to do about them. Others (EBADF, EINVAL, ...) are bugs."""
_REMEDY_BY_NUMBER = {getattr(errno, n): text for text, names in _REMEDIES.items() for n in names if hasattr(errno, n)}
_NUMBER_IN_TEXT = re.compile(r"\(os error (\d+)\)")


@contextmanager
def machine_failures_explained(run: Path | None = None) -> Iterator[None]:
    """Within: a machine failure (a full, read-only or broken disk, ...) becomes a UserError.

    Args:
        run: Folder of the run that is executed within; messages then include how to resume it.

    Raises:
        UserError: A machine failure, with its path and what to do; replaces an OSError and the exceptions of Rust
            libraries that quote one: "... (os error 28)".
    """
    try:
        yield
    except Exception as error:
        explained = None if isinstance(error, UserError) else _explanation(error, run)
        if explained is None:
            raise
        raise UserError(explained) from error


def _explanation(error: Exception, run: Path | None) -> str | None:
    """The message for a machine failure; None for any other exception."""
    quoted = _NUMBER_IN_TEXT.search(str(error))
    number = error.errno if isinstance(error, OSError) else int(quoted[1]) if quoted else None
    if number is None or number not in _REMEDY_BY_NUMBER:
        return None
    path = getattr(error, "filename", None) or run
    subject = "" if path is None else f"{os.fsdecode(path) if isinstance(path, bytes) else path}: "
    resume = ""
    if run is not None and (run / "config.json").is_file():
        resume = f" Saved checkpoints are intact. Then resume with: --resume --run_folder={run}"
    return f"{subject}{os.strerror(number)}. {_REMEDY_BY_NUMBER[number]}.{resume}"
