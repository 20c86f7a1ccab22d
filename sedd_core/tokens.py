"""Tokenised texts on disk: written once, whole or not at all, and read by memory map.

A split of a data set is a folder <cache>/<key>/, its key a hash of the content and of how it was tokenised:

    tokens           one run of token ids: uint16, or int32 for a vocabulary above 65536
    ends             int64: where each document ends in the run
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
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from filelock import Timeout
from jaxtyping import Int64, Integer
from torch import Tensor

from . import console
from .codec import Codec
from .errors import UserError
from .files import cache_folder, check_readable, digest, kernel_lock, write_text, writing_folder
from .place import place
from .stages.data import Data, DocumentSequences, LongDocuments, PackedSequences, Padding, Sequences, Split
from .token_sums import SummedFile, crc32, remove_damaged

Tokens = Integer[np.ndarray, " n"]
Packing = Literal["packed", "document"]
PATIENCE = 3.0
"""Seconds of waiting for another process before it is said."""
NEWS_EVERY = 30.0
"""Seconds between lines on how far tokenising has come."""
SPLITS: tuple[Split, ...] = ("train", "valid")


class Tokenised(NamedTuple):
    """A codec, and the tokens of each document (of a long text: of each piece), made as they are asked for."""

    codec: Codec
    documents: Iterable[Tokens]


class Corpus(NamedTuple):
    """A split in the cache: its codec, one run of tokens [N], and where each document ends in it [D]."""

    codec: Codec
    tokens: Integer[Tensor, " N"]
    ends: Int64[Tensor, " D"]


class PackedData(Data):
    """Data whose splits are tokenised once, into the cache.

    packing: "packed" cuts the whole run of a split into sequences; "document" gives each document its own, for which
    padding and long_documents are those of `DocumentSequences`.
    """

    packing: Packing = "packed"
    padding: Padding = "counted"
    long_documents: LongDocuments = "cut"

    @property
    def remedy(self) -> str:
        """What to do about a split without a single sequence, for a message."""
        return "give it more text"

    @abstractmethod
    def key(self, name: Split) -> str:
        """A hash of a split's content and of how it is tokenised."""

    @abstractmethod
    def tokenise(self, name: Split) -> Tokenised:
        """The codec and the documents of a split, for the cache."""

    def codec(self) -> Codec:
        """The training split's."""
        return self.corpus("train").codec

    def end(self) -> int | None:
        """The last token of the training split, whose documents all end with the same one."""
        tokens = self.corpus("train").tokens if self.packing == "document" else []
        return int(tokens[-1]) if len(tokens) else None

    def fingerprint(self) -> str:
        """A hash of both splits' keys."""
        return corpus_key(self._key("train"), self._key("valid"))

    def split(self, name: Split) -> Sequences:
        """UserError for a split without a single sequence."""
        corpus = self.corpus(name)
        if self.packing == "document":
            parts = (corpus.tokens, corpus.ends, self.length, self.padding, self.long_documents)
            sequences: Sequences = DocumentSequences(*parts)
            self._say_what_is_cut(name, corpus, *sequences.cut_off())
        else:
            sequences = PackedSequences(corpus.tokens, self.length)
        if not len(sequences):
            raise UserError(
                f"The {name} split of {self.describe()} holds {len(corpus.tokens):,} tokens, less than one sequence: "
                f"{self.remedy}, or lower data.length."
            )
        return sequences

    def _say_what_is_cut(self, name: Split, corpus: Corpus, documents: int, tokens: int) -> None:
        if not documents or name in self._said_cut:
            return
        self._said_cut.add(name)
        console.say(
            f"warning: {documents:,} of the {len(corpus.ends):,} documents of the {name} split of {self.title} are "
            f"longer than data.length={self.length}: their ends, {tokens:,} of {len(corpus.tokens):,} tokens "
            f"({100 * tokens / len(corpus.tokens):.1f} %), are left out. Raise data.length, or set "
            "data.long_documents=split to use them as further sequences."
        )

    def check_cache(self) -> None:
        """Remove the splits in the cache that are damaged, or without checksums; opening them builds them again.

        Once per object, and in the first process of a machine only: the others have to wait for it before they open
        a split. Each split is read once from end to end, in blocks, at the speed of the disk or of CRC-32 (about 1 GB
        per second), whichever is lower: 10 to 20 s for the 18 GB of OpenWebText.
        """
        for name in SPLITS:
            self._check(name)

    def corpus(self, name: Split) -> Corpus:
        """A split in the cache, tokenised when it is not there yet or damaged."""
        if name not in self._corpora:
            self._check(name)
            self._corpora[name] = cached_corpus(self._key(name), lambda: self.tokenise(name))
        return self._corpora[name]

    def _key(self, name: Split) -> str:
        if name not in self._keys:
            self._keys[name] = self.key(name)
        return self._keys[name]

    def _check(self, name: Split) -> None:
        if place()[2] == 0 and name not in self._checked:
            remove_damaged(_folder(self._key(name)))
        self._checked.add(name)

    @cached_property
    def _checked(self) -> set[Split]:
        return set()

    @cached_property
    def _said_cut(self) -> set[Split]:
        return set()

    @cached_property
    def _corpora(self) -> dict[Split, Corpus]:
        return {}

    @cached_property
    def _keys(self) -> dict[Split, str]:
        """Read once: a key may take a pass over a file."""
        return {}


def _folder(key: str) -> Path:
    return cache_folder() / key[:32]


def corpus_key(*parts: str) -> str:
    """A hash of contents and settings; the order counts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def content_hash(path: Path) -> str:
    """sha256 of a file's bytes, or of a folder's files and their names; hidden ones are left out.

    OSError when it is missing; UserError when the user may not read all of it.
    """
    check_readable(path)
    if not path.is_dir():
        return digest(path)
    visible = [p for p in path.rglob("*") if not _hidden(p.relative_to(path))]
    for inner in visible:
        check_readable(inner)  # `rglob` leaves out what it may not list
    inside = sorted(p for p in visible if p.is_file())
    return corpus_key(*(part for p in inside for part in (str(p.relative_to(path)), content_hash(p))))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def cached_corpus(key: str, build: Callable[[], Tokenised]) -> Corpus:
    """The corpus of this key, built when there is none or it is cut; by one process, for which others wait.

    A builder that is killed releases the lock, and what it left is removed by the next. UserError when the cache
    cannot be written.
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
            f"Tokens cannot be kept in {folder.parent}: {error.strerror or error}. Name a folder that can be "
            "written, with room: SEDD_CACHE=..."
        ) from error
    corpus = _read(folder)
    if corpus is None:
        raise UserError(f"{folder} was written and cannot be read: check the disk, or name another: SEDD_CACHE=...")
    return corpus


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Within: no other process holds the lock of this file, which stays."""
    lock = kernel_lock(path)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        console.say(f"Waiting for another process, which tokenises the same data (it holds {path}).")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(folder: Path, build: Callable[[], Tokenised]) -> None:
    """Write beside the folder, then rename."""
    with writing_folder(folder) as temporary:
        _write(temporary, build())


def _write(folder: Path, made: Tokenised) -> None:
    codec, documents = made
    size, count, number, news = codec.vocab_size, 0, 0, time.monotonic()
    with SummedFile(folder / "tokens") as tokens, SummedFile(folder / "ends") as ends:
        for document in documents:
            if len(document) and not 0 <= document.min() <= document.max() < size:
                raise UserError(f"The tokenizer gave a token outside its {size} of them: it cannot be used.")
            tokens.write(document.astype(_kind(codec)).tobytes())
            count, number = count + len(document), number + 1
            ends.write(np.int64(count).tobytes())
            if time.monotonic() - news > NEWS_EVERY:
                news = time.monotonic()
                console.say(f"Tokenising: {count:,} tokens so far")
    codec.save(folder / "tokenizer.json")
    sums = {"tokens": tokens.crc32, "ends": ends.crc32, "tokenizer.json": crc32(folder / "tokenizer.json")}
    write_text(folder / "corpus.json", json.dumps({"tokens": count, "documents": number, "crc32": sums}))


def _kind(codec: Codec) -> type[np.integer]:
    return np.uint16 if codec.vocab_size <= 2**16 else np.int32


def _read(folder: Path) -> Corpus | None:
    """None where there is none, or a damaged one."""
    try:
        codec, sizes = Codec.load(folder / "tokenizer.json"), json.loads((folder / "corpus.json").read_text())
        tokens = _map(folder / "tokens", sizes["tokens"], _kind(codec))
        return Corpus(codec, tokens, _map(folder / "ends", sizes["documents"], np.int64))
    except (OSError, ValueError, KeyError, UserError):
        return None


def _map(path: Path, count: int, kind: type[np.integer]) -> Integer[Tensor, " N"]:
    """A file as a tensor, read where it is indexed. ValueError for a file of another size."""
    if path.stat().st_size != count * np.dtype(kind).itemsize:
        raise ValueError(f"{path} has not the size of {count} numbers")
    if not count:
        return torch.from_numpy(np.zeros(0, kind))
    mapped = np.memmap(path, kind, "r")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it cannot be written: it never is
        return torch.from_numpy(mapped)
