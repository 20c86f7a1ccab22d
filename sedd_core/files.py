"""Files and folders: written whole or not at all, checksums, permissions, and locks that end with their holder."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
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
"""Suffix of what is being written; a kill may leave such files and folders behind, and no reader takes them."""


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends, synced; an exception leaves `path` as it was.

    The file gets the permissions that the umask gives, whatever its writer chose.

    Args:
        path: The file to write or to replace; its folder must exist.

    Raises:
        OSError: The file cannot be written.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        yield temporary
        _permit(temporary)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException as error:
        _name(error, path)
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends, synced; an exception leaves neither.

    Whatever is at `path` is removed just before the renaming. The two are not one step: a kill between them leaves
    nothing at `path`, so that this must not replace what is still needed.

    Args:
        path: The folder to write; its parents are made.

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
        _name(error, path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def new_folder(path: Path) -> Path:
    """Make a folder that was not there, by one process alone: `path`, or with the first free suffix -2, -3, ...

    OSError when it cannot be made.
    """
    names = chain([path], (path.with_name(f"{path.name}-{number}") for number in count(2)))
    while True:
        folder = next(names)
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if not path.parent.is_dir():  # a file in the place of a parent
                raise


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove these folders, one after the other, as far as they are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return


@contextmanager
def side_file(path: Path) -> Iterator[None]:
    """Within: a file that cannot be read or written is a warning, and the rest of the block is left out.

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
    """Write UTF-8 text, whole or not at all. OSError when it cannot be written."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def check_readable(path: Path) -> None:
    """Tell a file or folder that this user may not read from one that is missing.

    Call it before `is_file`, `exists`, `glob` or a library's reader: depending on the Python version they raise
    PermissionError or report the file as missing. Everything but permissions is left to the reader.

    Raises:
        UserError: The user may not read the path, or may not search a folder above it.
    """
    try:
        needed = os.R_OK | (os.X_OK if stat.S_ISDIR(path.stat().st_mode) else 0)
        if os.access(path, needed, effective_ids=os.access in os.supports_effective_ids):
            return
    except PermissionError:
        pass
    except (OSError, ValueError):  # the latter for a null byte in the path
        return
    raise UserError(f"Permission denied: {path} cannot be read by this user. Ask its owner for read permission.")


def matching(pattern: str) -> list[str]:
    """The paths that a pattern of `glob` matches, sorted. UserError where the user may not list a folder of it."""
    if glob.has_magic(pattern):
        for folder in glob.glob(str(Path(pattern).parent)):
            check_readable(Path(folder))
    return sorted(glob.glob(pattern))


def digest(path: Path) -> str:
    """sha256 of a file's content, in hexadecimal. OSError when it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expanded(path: str | Path) -> Path:
    """The path with the home folder for a leading ~, which shells leave in `setting=~/file`."""
    return Path(os.path.expanduser(path))


def cache_folder() -> Path:
    """Where tokenized data is kept: $SEDD_CACHE, a ~ in it expanded; unset or empty, ~/.cache/sedd."""
    return expanded(os.environ.get("SEDD_CACHE") or "~/.cache/sedd")


def kernel_lock(path: Path) -> FileLock:
    """A lock between processes that the kernel releases when its holder dies, however it dies.

    Args:
        path: The lock's file; it stays when the lock is released, and its content is the holder's to use.

    Returns:
        A `filelock.FileLock`: `acquire(timeout=seconds)` raises `filelock.Timeout` where another process holds it,
        OSError (ENOSYS and others) where the file system has no locks.
    """
    return FileLock(path, fallback_to_soft=False, preserve_lock_file=True, thread_local=False)


def _name(error: BaseException, path: Path) -> None:
    """Say in an error of the system which path it concerns; one in `write` or `fsync` does not."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        error.filename = str(path)


def _permit(path: Path) -> None:
    """The permissions of a file or folder that `open` or `mkdir` makes."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _sync(path: Path) -> None:
    """Bring a file's content, or a folder's names, to the disk."""
    if WINDOWS and path.is_dir():  # Windows opens no folders, and syncs only what may be written
        return
    descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
