"""Token cache on disk: made in shards that outlive a stop, joined at the end, and read by memory map.

Each split of a data set is a folder <cache>/<key>/; the key is a hash of its content and tokenization:

    tokens           one run of token ids: uint16, or int32 for a vocabulary above 65536
    ends             int64: end position of each document in the run
    tokenizer.json   the codec
    corpus.json      {"tokens": N, "documents": D, "crc32": {"tokens": ..., "ends": ..., "tokenizer.json": ...}},
                     written last

Until then its shards are in <key>.<codec>.parts/, see `shards`. One process makes them under the lock <key>.lock while
the others wait; where locks do not work, several make the same ones, and the first to finish leaves the corpus.
The cache is $SEDD_CACHE, or ~/.cache/sedd. The checksums are checked once per start by one process per machine, see
`PackedData.check_cache`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import Timeout
from jaxtyping import Int64, Integer
from torch import Tensor

from .. import console
from ..errors import UserError
from ..files import (
    NO_LOCKS,
    cache_folder,
    check_readable,
    digest,
    kernel_lock,
    process_name,
    remove_empty,
    write_text,
    writing_folder,
)
from ..text.codec import Codec
from .checksums import SummedFile, crc32, set_aside
from .shards import Shard, Shards, token_type

Tokens = Integer[np.ndarray, " n"]
PATIENCE = 3.0
"""Seconds to wait for another process before a message is shown."""


def _are_tokens(documents: list[Any]) -> list[Any]:
    return documents


class Tokenized(NamedTuple):
    """A codec, and documents (or pieces of a long text) with the function that tokenizes some of them.

    After a stop, the documents are asked for again, in the same order, and only those without a shard are encoded.
    """

    codec: Codec
    documents: Iterable[Any]
    """What is tokenized, produced lazily: anything that has a length, such as texts, or tokens."""
    encode: Callable[[list[Any]], Iterable[Tokens]] = _are_tokens
    """The tokens of each of some documents; called from several threads. Default: the documents are tokens."""


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
    """The corpus of a key; one process makes it if it is missing or truncated while the others wait.

    A process that is killed releases the lock; the next one continues with the shards that are missing.

    Args:
        key: Hash of the content and the tokenization, as from `corpus_key`.
        build: Opens the split; called only if the corpus is missing.

    Raises:
        UserError: The cache cannot be written.
    """
    folder = _folder(key)
    corpus = _read(folder)
    if corpus is not None:
        return corpus
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock")) as alone:
            if _read(folder) is None:
                _build(folder, build(), alone)
    except OSError as error:
        corpus = _read(folder)  # without working locks, another process may have finished, and removed the shards
        if corpus is not None:
            return corpus
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
def _locked(path: Path) -> Iterator[bool]:
    """Context that holds the lock on this file, which is not removed afterwards. False: there are no locks here."""
    lock = kernel_lock(path)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        console.say(f"Waiting for another process that tokenizes the same data (lock: {path}).")
        lock.acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        console.say(f"warning: the file system of {path.parent} has no locks. Processes may tokenize the same twice.")
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _build(folder: Path, made: Tokenized, alone: bool) -> None:
    """Make the missing shards, join them, and rename the result, unless another process was first."""
    if folder.exists() and _read(folder) is None:
        set_aside(folder)
    codec, documents, encode = made
    shards = Shards(folder, codec)
    if alone:
        shards.remove_leftovers()
    joined = shards.folder / process_name()
    try:
        count = shards.complete(documents, encode)
        with writing_folder(joined) as temporary:
            _join(temporary, codec, map(shards.read, range(count)))
        if not folder.exists():
            os.rename(joined, folder)  # fails if another process is faster
    finally:
        if folder.exists():
            shutil.rmtree(shards.folder, ignore_errors=True)
        remove_empty([shards.folder])


def _join(folder: Path, codec: Codec, shards: Iterable[Shard]) -> None:
    count = number = 0
    with SummedFile(folder / "tokens") as tokens, SummedFile(folder / "ends") as ends:
        for shard in shards:
            tokens.write(shard.tokens.tobytes())
            ends.write((count + shard.lengths.cumsum()).tobytes())
            count, number = count + len(shard.tokens), number + len(shard.lengths)
    codec.save(folder / "tokenizer.json")
    sums = {"tokens": tokens.crc32, "ends": ends.crc32, "tokenizer.json": crc32(folder / "tokenizer.json")}
    write_text(folder / "corpus.json", json.dumps({"tokens": count, "documents": number, "crc32": sums}))


def _read(folder: Path) -> Corpus | None:
    """The corpus in a folder; None if it is missing or damaged."""
    try:
        codec, sizes = Codec.load(folder / "tokenizer.json"), json.loads((folder / "corpus.json").read_text())
        tokens = _map(folder / "tokens", sizes["tokens"], token_type(codec))
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
