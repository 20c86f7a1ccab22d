"""Shards of a corpus that is being tokenized: those that are finished outlive a stop, and the next run uses them.

A shard is a function of the documents alone, whoever makes it and when: processes that share a disk without working
locks may make the same one, and either is right. Each is a file `<number>` with a checksum, written to a temporary name
with host and process, and renamed:

    tokens    of all documents, in the type of the cache
    lengths   int64: number of tokens of each document
    counts    number of tokens and number of documents, and the CRC-32 of all before it
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from .. import console
from ..errors import Stopped, UserError
from ..files import process_name, writing
from ..text.codec import Codec
from .checksums import SummedFile

SHARD = 2**24
"""Least length of the documents of a shard: characters of text, or tokens."""
BATCH = 2**22
"""Least length of the documents that are tokenized in one call."""
THREADS = 2
"""Shards made at a time: a tokenizer uses all cores, and one thread while it is given text and asked for tokens."""
NEWS_EVERY = 30.0
"""Seconds between progress lines of tokenization."""
COUNTS, SUM = struct.Struct("<QQ"), struct.Struct("<I")
Encode = Callable[[list[Any]], Iterable[np.ndarray]]


class Shard(NamedTuple):
    """Consecutive documents: their tokens in one run [n], and the length of each [d]."""

    tokens: Integer[np.ndarray, " n"]
    lengths: Int64[np.ndarray, " d"]


def grouped(documents: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Consecutive documents, in groups that end where their length reaches `size`; each document counts one more.

    Args:
        documents: Documents that have a length.
        size: Least length of a group but the last.
    """
    group, length = [], 0
    for document in documents:
        group.append(document)
        length += len(document) + 1
        if length >= size:
            yield group
            group, length = [], 0
    if group:
        yield group


def token_type(codec: Codec) -> type[np.integer]:
    """The type of tokens in the cache: the smaller of two that torch indexes."""
    return np.uint16 if codec.vocab_size <= 2**16 else np.int32


class Shards:
    """The shards of a corpus, in a folder beside it.

    Args:
        corpus: Folder that the corpus will have.
        codec: Its codec. A codec that is learned anew may differ, and has shards of its own.
    """

    def __init__(self, corpus: Path, codec: Codec) -> None:
        own = hashlib.sha256(f"{SHARD} {codec.tokenizer.to_str()}".encode()).hexdigest()
        self.folder = corpus.with_name(f"{corpus.name}.{own[:8]}.parts")
        self._kind, self._vocab_size = token_type(codec), codec.vocab_size
        self._stopped = threading.Event()
        self.folder.mkdir(exist_ok=True)

    def remove_leftovers(self) -> None:
        """Remove what killed processes of this machine have left unfinished. Call it only while no other is active."""
        machine = process_name().rpartition(".")[0]
        for path in self.folder.iterdir():
            if f".{machine}." in f".{path.name}":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def complete(self, documents: Iterable[Any], encode: Encode) -> int:
        """Make the shards that are missing or damaged.

        Args:
            documents: All documents of the corpus, in order.
            encode: Tokenizes some of them; called from several threads.

        Returns:
            Number of shards.

        Raises:
            UserError: A token lies outside the vocabulary, or the documents cannot be read or tokenized.
            OSError: A shard cannot be written.
        """
        number, progress, making = -1, Progress(), deque[Future[int]]()
        pool = ThreadPoolExecutor(THREADS, "tokenize")
        try:
            for number, group in enumerate(grouped(documents, SHARD)):
                if (shard := self._sound(number)) is not None:
                    progress.found(len(shard.tokens))
                    continue
                making.append(pool.submit(self._make, number, group, encode))
                if len(making) > THREADS:
                    progress.made(making.popleft().result())
            for future in making:
                progress.made(future.result())
        finally:
            self._stopped.set()  # after an error or Ctrl-C, threads end with their current batch
            pool.shutdown(cancel_futures=True)
        return number + 1

    def read(self, number: int) -> Shard:
        """Read a shard.

        Args:
            number: Index of the shard.

        Raises:
            OSError: It is missing or damaged.
        """
        path = self._path(number)
        content = memoryview(path.read_bytes())
        body, tail = content[: -SUM.size], content[-SUM.size :]
        if len(body) < COUNTS.size or (zlib.crc32(body),) != SUM.unpack(tail):
            raise OSError(errno.EIO, "damaged file", str(path))
        tokens, documents = COUNTS.unpack(body[-COUNTS.size :])
        lengths = np.frombuffer(body, np.int64, documents, offset=tokens * np.dtype(self._kind).itemsize)
        return Shard(np.frombuffer(body, self._kind, tokens), lengths)

    def _sound(self, number: int) -> Shard | None:
        try:
            return self.read(number)
        except FileNotFoundError:
            return None
        except OSError as error:
            console.say(f"warning: {self._path(number)} cannot be used ({error.strerror}): it is tokenized again.")
            return None

    def _make(self, number: int, group: list[Any], encode: Encode) -> int:
        """Write a shard. Returns its number of tokens."""
        count, lengths = 0, []
        with writing(self._path(number), shared=True) as temporary, SummedFile(temporary) as file:
            for batch in grouped(group, BATCH):
                if self._stopped.is_set():
                    raise Stopped
                documents = list(encode(batch))
                tokens = np.concatenate(documents)
                if len(tokens) and not 0 <= tokens.min() <= tokens.max() < self._vocab_size:
                    size = self._vocab_size
                    raise UserError(f"The tokenizer produced a token outside its vocabulary of {size}: use another.")
                file.write(tokens.astype(self._kind).tobytes())
                count += len(tokens)
                lengths += map(len, documents)
            file.write(np.array(lengths, np.int64).tobytes() + COUNTS.pack(count, len(lengths)))
            file.write(SUM.pack(file.crc32))
        return count

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}"


class Progress:
    """Lines about tokenization, for people."""

    def __init__(self) -> None:
        self._found = self._tokens = self._made = 0
        self._started = self._last = time.monotonic()

    def found(self, tokens: int) -> None:
        """Count a shard of an earlier run.

        Args:
            tokens: Its number of tokens.
        """
        self._found, self._tokens = self._found + 1, self._tokens + tokens
        self._started = self._last = time.monotonic()

    def made(self, tokens: int) -> None:
        """Count a new shard.

        Args:
            tokens: Its number of tokens.
        """
        if self._found and not self._made:
            console.say(f"Tokenizing: continues after {self._tokens:,} tokens of an earlier run")
        self._made, self._tokens, now = self._made + tokens, self._tokens + tokens, time.monotonic()
        if now - self._last > NEWS_EVERY:
            self._last = now
            rate = self._made / (now - self._started)
            console.say(f"Tokenizing: {self._tokens:,} tokens so far, {rate:,.0f} per second")
