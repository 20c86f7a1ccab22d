"""One run at a time in a folder: a lock that ends with the process that holds it."""

from __future__ import annotations

import errno
import getpass
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..console import say
from ..errors import UserError
from ..files import kernel_lock

LOCK = "run.lock"
"""The lock's file in a run folder; it holds who holds the lock, and stays."""
PATIENCE = 5.0
"""Seconds of waiting for a run that is about to end."""
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextmanager
def locked(folder: Path, patience: float | None = None) -> Iterator[None]:
    """Within: no other run holds this folder, on any machine that shares it.

    Args:
        folder: The run folder, which exists. One on a file system without locks is used unlocked, with a warning.
        patience: Seconds to wait for the holder; None: `PATIENCE`.

    Raises:
        UserError: Another run holds it.
        OSError: The lock's file cannot be written.
    """
    lock = kernel_lock(folder / LOCK)
    if not _acquired(lock, folder, PATIENCE if patience is None else patience):
        say(f"warning: the file system of {folder} has no locks: start no second run in this folder.")
        yield
        return
    try:
        with suppress(PermissionError):  # Windows: nothing is read or written where a lock is held
            (folder / LOCK).write_text(_holder(), encoding="utf-8")
        yield
    finally:
        lock.release()


def _acquired(lock: FileLock, folder: Path, patience: float) -> bool:
    """False where the file system has no locks."""
    try:
        lock.acquire(timeout=patience)
    except Timeout as error:
        raise UserError(
            f"Another run is at work in {folder}: {_said_by_holder(folder)}. Wait until it has ended, stop "
            "it, or name another folder: --run_folder=..."
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def _holder() -> str:
    """Who holds the lock, where, and since when."""
    try:
        user = getpass.getuser()
    except (KeyError, ImportError, OSError):  # a container's user without a name
        user = f"user {os.getuid()}" if hasattr(os, "getuid") else "an unnamed user"
    since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    return f"started by {user} on {socket.gethostname()} (process {os.getpid()}), since {since}"


def _said_by_holder(folder: Path) -> str:
    try:
        return (folder / LOCK).read_text(encoding="utf-8", errors="replace").strip() or "not said by whom"
    except OSError:
        return "not said by whom"
