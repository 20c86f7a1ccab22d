"""Token cache on disk: written once, atomically, and read by memory map.

Each split of a data set is a folder <cache>/<key>/; the key is a hash of its content and tokenization:

    tokens           one run of token ids: uint16, or int32 for a vocabulary above 65536
    ends             int64: end position of each document in the run
    tokenizer.json   the codec
    corpus.json      {"tokens": N, "documents": D, "crc32": {"tokens": ..., "ends": ..., "tokenizer.json": ...}},
                     written last

One process builds it under the lock <key>.lock while the others wait. The cache is $SEDD_CACHE, or ~/.cache/sedd.
The checksums are checked once per start by one process per machine, see `PackedData.check_cache`.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import Timeout
from jaxtyping import Int64, Integer
from torch import Tensor

from .. import console
from ..errors import UserError
from ..files import cache_folder, check_readable, digest, kernel_lock, write_text, writing_folder
from ..text.codec import Codec
from .checksums import SummedFile, crc32

Tokens = Integer[np.ndarray, " n"]
PATIENCE = 3.0
"""Seconds to wait for another process before a message is shown."""
NEWS_EVERY = 30.0
"""Seconds between progress lines of tokenization."""


class Tokenized(NamedTuple):
    """A codec, and the tokens of each document (or of each piece of a long text), produced lazily."""

    codec: Codec
    documents: Iterable[Tokens]


class Corpus(NamedTuple):
    """A split in the cache: its codec, one run of tokens [N], and the end position of each document [D]."""

    codec: Codec
    tokens: Integer[Tensor, " N"]
    ends: Int64[Tensor, " D"]


def _folder(key: str) -> Path:
    return cache_folder() / key[:32]


def corpus_key(*parts: str) -> str:
    """A hash of contents and settings.

    Args:
        parts: Contents and settings as text; their order matters.
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the files in a folder and their names; hidden files are ignored.

    Args:
        path: Path of the file or folder.

    Raises:
        OSError: The path does not exist.
        UserError: Part of the content is not readable for this user.
    """
    check_readable(path)
    if not path.is_dir():
        return digest(path)
    visible = [p for p in path.rglob("*") if not _hidden(p.relative_to(path))]
    for inner in visible:
        check_readable(inner)  # `rglob` silently skips folders that it may not list
    inside = sorted(p for p in visible if p.is_file())
    return corpus_key(*(part for p in inside for part in (str(p.relative_to(path)), content_hash(p))))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def cached_corpus(key: str, build: Callable[[], Tokenized]) -> Corpus:
    """The corpus of a key; one process builds it if it is missing or truncated while the others wait.

    A builder that is killed releases the lock; the next one removes its partial files.

    Args:
        key: Hash of the content and the tokenization, as from `corpus_key`.
        build: Tokenizes the split; called only if the corpus is missing.

    Raises:
        UserError: The cache cannot be written.
    """
    folder = _folder(key)
    corpus = _read(folder)
    if corpus is not None:
        return corpus
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock")):
            if _read(folder) is None:
                _build(folder, build)
    except OSError as error:
        raise UserError(
            f"Tokens cannot be written to {folder.parent}: {error.strerror or error}. Name a writable folder with "
            "enough space: SEDD_CACHE=..."
        ) from error
    corpus = _read(folder)
    if corpus is None:
        raise UserError(
            f"{folder} was written but cannot be read. Check the disk, or name another folder: SEDD_CACHE=..."
        )
    return corpus


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Context that holds the lock on this file, which is not removed afterwards."""
    lock = kernel_lock(path)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        console.say(f"Waiting for another process that tokenizes the same data (lock: {path}).")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(folder: Path, build: Callable[[], Tokenized]) -> None:
    """Write to a temporary folder beside the target, then rename it."""
    with writing_folder(folder) as temporary:
        _write(temporary, build())


def _write(folder: Path, made: Tokenized) -> None:
    codec, documents = made
    size, count, number, last_news = codec.vocab_size, 0, 0, time.monotonic()
    with SummedFile(folder / "tokens") as tokens, SummedFile(folder / "ends") as ends:
        for document in documents:
            if len(document) and not 0 <= document.min() <= document.max() < size:
                raise UserError(f"The tokenizer produced a token outside its vocabulary of {size} and cannot be used.")
            tokens.write(document.astype(_kind(codec)).tobytes())
            count, number = count + len(document), number + 1
            ends.write(np.int64(count).tobytes())
            if time.monotonic() - last_news > NEWS_EVERY:
                last_news = time.monotonic()
                console.say(f"Tokenizing: {count:,} tokens so far")
    codec.save(folder / "tokenizer.json")
    sums = {"tokens": tokens.crc32, "ends": ends.crc32, "tokenizer.json": crc32(folder / "tokenizer.json")}
    write_text(folder / "corpus.json", json.dumps({"tokens": count, "documents": number, "crc32": sums}))


def _kind(codec: Codec) -> type[np.integer]:
    return np.uint16 if codec.vocab_size <= 2**16 else np.int32


def _read(folder: Path) -> Corpus | None:
    """The corpus in a folder; None if it is missing or damaged."""
    try:
        codec, sizes = Codec.load(folder / "tokenizer.json"), json.loads((folder / "corpus.json").read_text())
        tokens = _map(folder / "tokens", sizes["tokens"], _kind(codec))
        return Corpus(codec, tokens, _map(folder / "ends", sizes["documents"], np.int64))
    except (OSError, ValueError, KeyError, UserError):
        return None


def _map(path: Path, count: int, kind: type[np.integer]) -> Integer[Tensor, " N"]:
    """A file as a memory-mapped tensor. ValueError if its size differs from `count` numbers."""
    if path.stat().st_size != count * np.dtype(kind).itemsize:
        raise ValueError(f"{path} does not have the size of {count} numbers")
    if not count:
        return torch.from_numpy(np.zeros(0, kind))
    mapped = np.memmap(path, kind, "r")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that the array is read-only; nothing writes to it
        return torch.from_numpy(mapped)
