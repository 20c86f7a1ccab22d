"""Files of text: what the ending of a name says, compression and byte-order marks aside."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ..errors import UserError

COMPRESSED = ("gz", "bz2", "xz", "zst", "zip")
_ENDING = re.compile(r"\.([^.]+)$")
_COMPRESSED = re.compile(rf"(\.({'|'.join(COMPRESSED)}))+$", re.IGNORECASE)
_OPENERS: dict[str, Callable[..., IO[Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""The byte-order mark."""


def ending(name: str) -> str:
    """The last part of a file's name after a dot, in lower case, endings of compression aside; "" where none."""
    found = _ENDING.search(_COMPRESSED.sub("", name))
    return found[1].lower() if found else ""


def read_text(path: Path, kind: str = "UTF-8 text") -> str:
    """All of a UTF-8 text file, its line ends as they are, without a byte-order mark.

    Args:
        path: The file; .gz, .bz2, .xz and .zip (of one file) are decompressed.
        kind: What messages call its content.

    Raises:
        UserError: The file cannot be read, is compressed otherwise, or is in another encoding.
    """
    try:
        return _bytes(path).decode().removeprefix(MARK)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as {kind}: {error}.") from error


def starts_with_mark(path: Path) -> bool:
    """Whether a text file starts with a byte-order mark of UTF-8; False where it cannot be read."""
    try:
        if path.suffix.lower() == ".zip":
            return _bytes(path).startswith(MARK.encode())
        with _OPENERS.get(path.suffix.lower(), open)(path, "rb") as file:
            return file.read(3) == MARK.encode()
    except (OSError, EOFError, ValueError, lzma.LZMAError, zipfile.BadZipFile):
        return False


def _bytes(path: Path) -> bytes:
    suffix = path.suffix.lower()
    if suffix == ".zst":
        raise ValueError("it is compressed by Zstandard, which is not read here; decompress it (zstd -d)")
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise ValueError(f"it holds {len(names)} files, not 1")
            return archive.read(names[0])
    with _OPENERS.get(suffix, open)(path, "rb") as file:
        return bytes(file.read())
