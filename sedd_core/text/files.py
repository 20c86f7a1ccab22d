"""Text files: file extensions, decompression and byte-order marks."""

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
"""Byte-order mark (U+FEFF)."""


def ending(name: str) -> str:
    """The extension of a file name in lower case, without the dot and without extensions of compression.

    Args:
        name: Name of the file: "a.JSONL.gz" has the extension "jsonl".

    Returns:
        The extension; "" if the name has none.
    """
    found = _ENDING.search(_COMPRESSED.sub("", name))
    return found[1].lower() if found else ""


def read_text(path: Path, kind: str = "UTF-8 text") -> str:
    """Read a UTF-8 text file, with its line ends unchanged and without a byte-order mark.

    Args:
        path: Path of the file; .gz, .bz2, .xz and .zip (containing one file) are decompressed.
        kind: Description of the content, for messages.

    Raises:
        UserError: The file cannot be read, uses another compression, or is not UTF-8.
    """
    try:
        return _bytes(path).decode().removeprefix(MARK)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as {kind}: {error}.") from error


def starts_with_mark(path: Path) -> bool:
    """Whether a text file starts with a UTF-8 byte-order mark.

    Args:
        path: Path of the file, compressed or not.

    Returns:
        False also if the file cannot be read.
    """
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
        raise ValueError("it is compressed by Zstandard, which is not supported; decompress it (zstd -d)")
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise ValueError(f"it contains {len(names)} files, not 1")
            return archive.read(names[0])
    with _OPENERS.get(suffix, open)(path, "rb") as file:
        return bytes(file.read())
