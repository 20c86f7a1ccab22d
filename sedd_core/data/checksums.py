"""Checksums of the token cache: recorded on writing, checked block by block in constant memory."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path
from types import TracebackType

from .. import console
from ..errors import UserError
from ..files import TEMPORARY, check_readable, process_name

FILES = ("tokens", "ends", "tokenizer.json")
"""Files of a corpus with a checksum in corpus.json."""
BLOCK = 2**22
"""Bytes to read at a time."""


class SummedFile:
    """A new file with a running CRC-32 of the bytes written to it.

    Args:
        path: Path of the file to create.
    """

    def __init__(self, path: Path) -> None:
        self._file, self.crc32 = path.open("wb"), 0

    def __enter__(self) -> SummedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        """Append bytes.

        Args:
            data: Bytes to write.

        Raises:
            OSError: The file cannot be written.
        """
        self._file.write(data)
        self.crc32 = zlib.crc32(data, self.crc32)


def crc32(path: Path) -> int:
    """CRC-32 of a file of any size.

    Args:
        path: Path of the file.

    Raises:
        OSError: The file cannot be read.
    """
    value = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            value = zlib.crc32(block, value)
    return value


def remove_damaged(folder: Path) -> None:
    """Remove a corpus whose checksums are missing or wrong, with a one-line warning.

    Processes on this machine that have opened the corpus can still read it.

    Args:
        folder: Folder of the corpus; it need not exist.

    Raises:
        UserError: The corpus is not readable for this user, or cannot be removed.
    """
    reason = _damage(folder)
    if reason is None:
        return
    console.say(f"warning: The token cache {folder} {reason} and will be rebuilt.")
    set_aside(folder)


def set_aside(folder: Path) -> None:
    """Remove a corpus; of several processes, one does, and none removes what another has made since.

    Args:
        folder: Folder of the corpus.

    Raises:
        UserError: It cannot be removed.
    """
    aside = folder.with_name(f"{folder.name}.{process_name()}{TEMPORARY}")
    try:
        os.rename(folder, aside)  # atomic: another process may be about to rebuild the corpus
    except FileNotFoundError:  # another process has removed it
        return
    except OSError as error:
        raise UserError(
            f"The damaged token cache {folder} cannot be removed: {error.strerror}. Name another: SEDD_CACHE=..."
        ) from error
    shutil.rmtree(aside, ignore_errors=True)


def _damage(folder: Path) -> str | None:
    """Damage of a corpus according to its checksums; None if it is intact or missing."""
    for name in (".", "corpus.json", *FILES):
        check_readable(folder / name)
    if not folder.is_dir():
        return None
    try:
        sums = json.loads((folder / "corpus.json").read_text())["crc32"]
        damaged = [name for name in FILES if crc32(folder / name) != sums[name]]
    except OSError as error:
        return f"cannot be read ({Path(error.filename or folder).name}: {error.strerror})"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "has no checksums (version 0.1.0 wrote none)"
    return f"is damaged ({', '.join(damaged)})" if damaged else None
