"""The one exception for what a user can correct: mistakes, and failures of the machine."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

STOPPED = 143
"""Exit code of a run that stopped on a signal with its state saved: that of a process ended by SIGTERM."""
INTERRUPTED = 130
"""Exit code of a run that Ctrl-C ended, with its state saved or without: that of a process ended by SIGINT."""


class UserError(Exception):
    """A mistake of the user's: says what is wrong, what there is instead, and what to do.

    The command line prints it without a traceback and exits with 1. Everything else is a bug and keeps
    its traceback.
    """


class ReportedElsewhere(UserError):
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
    """`" Did you mean 'x'?"` for one of `names` that begins with `name` or is close to it, or nothing."""
    known = list(names)
    begun = [one for one in known if name and one.startswith(name)]
    close = begun or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


_REMEDIES = {
    "Make room there, or write to another disk": ("ENOSPC", "EDQUOT", "EFBIG"),
    "Have the disk or the network file system checked": (
        *("EIO", "ESTALE", "EREMOTEIO", "ENODEV", "ENXIO", "ENOTCONN", "ENOLINK", "ECOMM", "EUCLEAN"),
        *("ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ECONNRESET", "ECONNREFUSED"),
    ),
    "Change its permissions, or name another place": ("EROFS", "EACCES", "EPERM"),
    "Raise the limit (ulimit -n), or start fewer processes": ("EMFILE", "ENFILE", "EAGAIN", "ENOLCK"),
    "Free some memory, or start fewer processes": ("ENOMEM",),
    "Name a shorter path without circular links": ("ENAMETOOLONG", "ELOOP"),
}
"""What to do about a failure of the machine. Other errors of the system (EBADF, EINVAL, ...) are bugs of ours."""
_REMEDY_BY_NUMBER = {getattr(errno, n): text for text, names in _REMEDIES.items() for n in names if hasattr(errno, n)}
_NUMBER_IN_TEXT = re.compile(r"\(os error (\d+)\)")


@contextmanager
def machine_failures_explained(run: Path | None = None) -> Iterator[None]:
    """Within: a failure of the machine (a disk that is full, read-only or broken, ...) becomes a UserError.

    Args:
        run: The folder of the run that takes place within; its messages say how to resume.

    Raises:
        UserError: What failed, on which path, and what to do; in place of an OSError of these kinds, and of the
            exceptions of libraries in Rust that quote one: "... (os error 28)".
    """
    try:
        yield
    except Exception as error:
        explained = None if isinstance(error, UserError) else _explanation(error, run)
        if explained is None:
            raise
        raise UserError(explained) from error


def _explanation(error: Exception, run: Path | None) -> str | None:
    """The message for a failure of the machine; None for any other exception."""
    quoted = _NUMBER_IN_TEXT.search(str(error))
    number = error.errno if isinstance(error, OSError) else int(quoted[1]) if quoted else None
    if number is None or number not in _REMEDY_BY_NUMBER:
        return None
    place = getattr(error, "filename", None) or run
    subject = "" if place is None else f"{os.fsdecode(place) if isinstance(place, bytes) else place}: "
    resume = ""
    if run is not None and (run / "config.json").is_file():
        resume = f" Checkpoints that were saved are whole: then resume with --resume --run_folder={run}"
    return f"{subject}{os.strerror(number)}. {_REMEDY_BY_NUMBER[number]}.{resume}"
