"""Exclusive lock on a run folder, released when its process ends."""

from __future__ import annotations

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
from ..files import NO_LOCKS, kernel_lock

LOCK = "run.lock"
"""Name of the lock file in a run folder; it describes the owner and is not removed."""
PATIENCE = 5.0
"""Seconds to wait for a run that is about to end."""


@contextmanager
def locked(folder: Path, patience: float | None = None) -> Iterator[None]:
    """Context that locks a run folder against other runs, on all machines that share it.

    On a file system without locks, the folder is used unlocked, with a warning.

    Args:
        folder: Existing run folder.
        patience: Seconds to wait for the owner of the lock; None: `PATIENCE`.

    Raises:
        UserError: Another run owns the lock.
        OSError: The lock file cannot be written.
    """
    lock = kernel_lock(folder / LOCK)
    if not _acquired(lock, folder, PATIENCE if patience is None else patience):
        say(f"warning: the file system of {folder} has no locks. Do not start a second run in this folder.")
        yield
        return
    try:
        with suppress(PermissionError):  # Windows: a locked file is not readable or writable
            (folder / LOCK).write_text(_owner(), encoding="utf-8")
        yield
    finally:
        lock.release()


def _acquired(lock: FileLock, folder: Path, patience: float) -> bool:
    """Acquire the lock. False if the file system has no locks."""
    try:
        lock.acquire(timeout=patience)
    except Timeout as error:
        raise UserError(
            f"Another run is active in {folder}: {_stored_owner(folder)}. Wait until it has ended, stop it, "
            "or name another folder: --run_folder=..."
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def _owner() -> str:
    """Description of this process: user, machine and start time."""
    try:
        user = getpass.getuser()
    except (KeyError, ImportError, OSError):  # containers may have users without a name
        user = f"user {os.getuid()}" if hasattr(os, "getuid") else "an unnamed user"
    since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    return f"started by {user} on {socket.gethostname()} (process {os.getpid()}), since {since}"


def _stored_owner(folder: Path) -> str:
    try:
        return (folder / LOCK).read_text(encoding="utf-8", errors="replace").strip() or "owner unknown"
    except OSError:
        return "owner unknown"
