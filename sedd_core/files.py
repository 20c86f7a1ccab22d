"""Files and folders: atomic writes, checksums, permissions, and locks that are released when their holder dies."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path

from filelock import FileLock

from .console import say
from .errors import UserError

WINDOWS = os.name == "nt"
TEMPORARY = ".tmp"
"""Suffix of unfinished files and folders; a killed process may leave some behind, and no reader uses them."""


NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""Errors of a file system without locks."""


def process_name() -> str:
    """A name of this process for files on disks that machines share: its machine, a dot, and its id."""
    return f"{socket.gethostname()}.{os.getpid()}"


@contextmanager
def writing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Within: a temporary path, which is synced and renamed to `path` at the end; an exception leaves `path` intact.

    The file gets the permissions of the umask, regardless of those that its writer sets.

    Args:
        path: File to write or to replace; its folder must exist.
        shared: Whether other processes may write it too, on any machine: each to a temporary path of its own.

    Raises:
        OSError: The file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{process_name()}{TEMPORARY}" if shared else path.name + TEMPORARY)
    try:
        yield temporary
        _permit(temporary)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException as error:
        _add_path(error, path)
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Within: a temporary folder, which is synced and renamed to `path` at the end; an exception leaves neither.

    An existing folder at `path` is removed just before the renaming. The two are not one atomic step: a process
    killed between them leaves nothing at `path`. Do not replace a folder that is still needed.

    Args:
        path: Folder to write; its parents are created.

    Raises:
        OSError: The folder cannot be written.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for inside in [*temporary.rglob("*"), temporary]:
            _permit(inside)
            _sync(inside)
        if path.exists():
            shutil.rmtree(path)
        os.rename(temporary, path)
        _sync(path.parent)
    except BaseException as error:
        _add_path(error, path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def new_folder(path: Path) -> Path:
    """Create a folder that does not exist yet; of several processes, each gets its own.

    Args:
        path: Folder to create; if it exists, the first free suffix -2, -3, ... is appended.

    Returns:
        The folder created.

    Raises:
        OSError: The folder cannot be created.
    """
    names = chain([path], (path.with_name(f"{path.name}-{number}") for number in count(2)))
    while True:
        folder = next(names)
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if not path.parent.is_dir():  # a parent is a file
                raise


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders in order, up to the first one that is not empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return


@contextmanager
def side_file(path: Path) -> Iterator[None]:
    """Within: if an optional file cannot be read or written, print a warning and skip the rest of the block.

    Args:
        path: File, for the warning.

    Raises:
        OSError: The disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        say(f"warning: {path}: {error.strerror or error}. The run continues without this file.")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically. OSError if it cannot be written."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def check_readable(path: Path) -> None:
    """Check that the user may read a file or folder; a missing one passes.

    Call this before `is_file`, `exists`, `glob` or a library's reader: depending on the Python version, these raise
    PermissionError or report the file as missing.

    Args:
        path: File or folder.

    Raises:
        UserError: The user may not read the path, or may not search a folder above it.
    """
    try:
        needed = os.R_OK | (os.X_OK if stat.S_ISDIR(path.stat().st_mode) else 0)
        if os.access(path, needed, effective_ids=os.access in os.supports_effective_ids):
            return
    except PermissionError:
        pass
    except (OSError, ValueError):  # ValueError: a NUL character in the path
        return
    raise UserError(f"Permission denied: {path} cannot be read by this user. Ask its owner for read permission.")


def matching(pattern: str) -> list[str]:
    """The sorted paths that match a `glob` pattern. UserError if the user may not list a folder in it."""
    if glob.has_magic(pattern):
        for folder in glob.glob(str(Path(pattern).parent)):
            check_readable(Path(folder))
    return sorted(glob.glob(pattern))


def digest(path: Path) -> str:
    """The SHA-256 checksum of a file, in hexadecimal. OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expanded(path: str | Path) -> Path:
    """The path with a leading ~ expanded to the home folder: shells do not expand the one in `setting=~/file`."""
    return Path(os.path.expanduser(path))


def cache_folder() -> Path:
    """The cache folder of tokenized data: $SEDD_CACHE with ~ expanded; ~/.cache/sedd if unset or empty."""
    return expanded(os.environ.get("SEDD_CACHE") or "~/.cache/sedd")


def kernel_lock(path: Path) -> FileLock:
    """A lock between processes, which the kernel releases when its holder dies for any reason.

    Args:
        path: File of the lock; it is kept after the release, and the holder may write to it.

    Returns:
        A `filelock.FileLock`: `acquire(timeout=seconds)` raises `filelock.Timeout` if another process holds it, and
        OSError (such as ENOSYS) if the file system does not support locks.
    """
    return FileLock(path, fallback_to_soft=False, preserve_lock_file=True, thread_local=False)


def _add_path(error: BaseException, path: Path) -> None:
    """Set the path of an OSError that has none, such as one from `write` or `fsync`."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        error.filename = str(path)


def _permit(path: Path) -> None:
    """Set the permissions that `open` or `mkdir` gives to a new file or folder."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to the disk."""
    if WINDOWS and path.is_dir():  # Windows cannot open folders, and syncs writable files only
        return
    descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
