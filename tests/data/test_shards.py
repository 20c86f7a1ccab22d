"""Shards of a corpus: the same corpus however it is cut, stopped, resumed, or made by several processes at once."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from sedd_core import UserError, console
from sedd_core.data import shards
from sedd_core.data.cache import Tokenized, cached_corpus
from sedd_core.text.builtin import byte_codec, character_codec
from sedd_core.text.codec import Codec

KEY = "k" * 64
TEXTS = [chr(97 + number % 26) * (number * 7 % 40) for number in range(60)]
"""Documents of different lengths, some of them empty: 1150 characters."""
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEDD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shards, "SHARD", 100)
    monkeypatch.setattr(shards, "BATCH", 30)
    return tmp_path / "cache"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(console, "say", lines.append)
    return lines


def encoded(texts: list[str]) -> Iterator[np.ndarray]:
    for text in texts:
        yield np.array([*text.encode(), 0], np.int64)


def letters(encode: Callable[[list[str]], Iterator[np.ndarray]] = encoded, codec: Codec | None = None) -> Tokenized:
    return Tokenized(codec or byte_codec(), iter(TEXTS), encode)


class Counting:
    """Encodes, and counts documents; may stop at one of them."""

    def __init__(self, stop_at: int | None = None, error: BaseException | None = None) -> None:
        self.count, self.stop_at, self.error = 0, stop_at, error or UserError("stopped")

    def __call__(self, texts: list[str]) -> Iterator[np.ndarray]:
        for one in encoded(texts):
            self.count += 1
            if self.count == self.stop_at:
                raise self.error
            yield one


def content(cache: Path) -> dict[str, bytes]:
    """The files of the only corpus; nothing else but its lock is there."""
    (folder,) = (path for path in cache.iterdir() if path.suffix != ".lock")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def whole(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, bytes]:
    """The corpus as one shard, made without a stop."""
    with monkeypatch.context() as patch:
        patch.setenv("SEDD_CACHE", str(folder))
        patch.setattr(shards, "SHARD", 10**9)
        cached_corpus(KEY, letters)
    return content(folder)


def parts(cache: Path) -> Path:
    (folder,) = cache.glob("*.parts")
    return folder


def stopped(stop_at: int = 40) -> None:
    with pytest.raises(UserError, match=r"^stopped$"):
        cached_corpus(KEY, lambda: letters(Counting(stop_at)))


def test_groups_end_where_their_length_is_reached() -> None:
    assert list(shards.grouped(["ab", "", "c", "defg", "h"], 4)) == [["ab", ""], ["c", "defg"], ["h"]]
    assert list(shards.grouped([], 4)) == []


@pytest.mark.parametrize(("size", "batch", "threads"), [(1, 1, 1), (7, 100, 2), (100, 30, 5), (10**6, 10**6, 2)])
def test_the_corpus_does_not_depend_on_shards_batches_and_threads(
    size: int, batch: int, threads: int, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (("SHARD", size), ("BATCH", batch), ("THREADS", threads)):
        monkeypatch.setattr(shards, name, value)
    corpus = cached_corpus(KEY, letters)
    expected = [one.tolist() for one in encoded(TEXTS)]
    assert corpus.tokens.tolist() == [token for one in expected for token in one]
    assert corpus.ends.tolist() == np.cumsum([len(one) for one in expected]).tolist()
    assert content(cache) == whole(monkeypatch, tmp_path / "whole")


def build_slowly(folder: Path) -> None:
    """For a process of its own."""

    def slowly(texts: list[str]) -> Iterator[np.ndarray]:
        for one in encoded(texts):
            time.sleep(0.01)
            yield one

    os.environ["SEDD_CACHE"] = str(folder)
    cached_corpus(KEY, lambda: letters(slowly))


def start(folder: Path) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=build_slowly, args=(folder,))
    process.start()
    return process


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_after_a_kill_only_missing_shards_are_tokenized(
    cache: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    victim = start(cache)
    while len(list(cache.glob("*.parts/00000?"))) < 3:
        assert victim.is_alive()
        time.sleep(0.005)
    assert victim.pid
    os.kill(victim.pid, signal.SIGKILL)
    victim.join(PATIENCE)
    kept = sum(len(group) for group, _ in zip(shards.grouped(TEXTS, 100), parts(cache).glob("??????"), strict=False))
    encode = Counting()
    cached_corpus(KEY, lambda: letters(encode))
    assert encode.count <= len(TEXTS) - kept + 1
    assert content(cache) == whole(monkeypatch, tmp_path / "whole")
    assert [line for line in said if "of an earlier run" in line]


@pytest.mark.parametrize("error", [UserError("stopped"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_a_stop_keeps_what_is_finished_and_leaves_no_thread(
    error: BaseException, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = set(threading.enumerate())
    with pytest.raises(type(error)):
        cached_corpus(KEY, lambda: letters(Counting(40, error)))
    assert set(threading.enumerate()) <= before
    assert not list(parts(cache).glob("*.tmp"))
    encode = Counting()
    cached_corpus(KEY, lambda: letters(encode))
    assert 0 < encode.count < 45
    assert content(cache) == whole(monkeypatch, tmp_path / "whole")


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b"", lambda b: bytes(len(b)), lambda b: b[:5] + b"!" + b[6:]]
)
def test_a_damaged_shard_is_tokenized_again_and_it_is_said(
    damage: Callable[[bytes], bytes], cache: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stopped()
    path = parts(cache) / "000001"
    path.write_bytes(damage(path.read_bytes()))
    cached_corpus(KEY, letters)
    assert [line for line in said if str(path) in line and "is tokenized again" in line]
    assert content(cache) == whole(monkeypatch, tmp_path / "whole")


def test_shards_of_another_codec_are_not_used(cache: Path) -> None:
    """A codec that is learned from the text may come out otherwise in another version of its library."""
    stopped()
    other = character_codec("abcdefghijklmnopqrstuvwxyz", unknown=True)
    corpus = cached_corpus(KEY, lambda: letters(lambda texts: (np.array([1]) for _ in texts), other))
    assert corpus.tokens.tolist() == [1] * len(TEXTS)


def test_two_shards_are_made_at_a_time() -> None:
    both, calls = threading.Barrier(2), itertools.count()

    def meeting(texts: list[str]) -> Iterator[np.ndarray]:
        if next(calls) < 2:
            both.wait(PATIENCE)
        return encoded(texts)

    cached_corpus(KEY, lambda: letters(meeting))


def test_after_an_error_other_shards_end_with_their_current_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BATCH", 1)
    stopping: list[threading.Event] = []
    second, calls = threading.Event(), itertools.count()
    original = shards.Shards.complete

    def complete(self: shards.Shards, documents: Iterator[str], encode: shards.Encode) -> int:
        stopping.append(self._stopped)
        return original(self, documents, encode)

    def failing(texts: list[str]) -> Iterator[np.ndarray]:
        next(calls)
        if texts[0] == TEXTS[0]:  # of the first shard, whose result is awaited first
            assert second.wait(PATIENCE)
            raise UserError("stopped")
        second.set()
        assert stopping[0].wait(PATIENCE)
        return encoded(texts)

    monkeypatch.setattr(shards.Shards, "complete", complete)
    with pytest.raises(UserError, match=r"^stopped$"):
        cached_corpus(KEY, lambda: letters(failing))
    assert next(calls) <= 3  # the thread that failed may have begun another shard before it was told


def test_documents_are_not_read_far_ahead_of_their_tokens() -> None:
    read, gate = [], threading.Event()

    def documents() -> Iterator[str]:
        for text in TEXTS:
            read.append(text)
            yield text

    def waiting(texts: list[str]) -> Iterator[np.ndarray]:
        assert gate.wait(PATIENCE)
        return encoded(texts)

    builder = threading.Thread(target=cached_corpus, args=(KEY, lambda: Tokenized(byte_codec(), documents(), waiting)))
    builder.start()
    time.sleep(0.3)
    groups = list(shards.grouped(TEXTS, 100))
    assert len(read) <= sum(map(len, groups[: shards.THREADS + 2])) < len(TEXTS)
    gate.set()
    builder.join(PATIENCE)


def without_locks(monkeypatch: pytest.MonkeyPatch, code: int = errno.ENOLCK) -> None:
    def refuse(self: FileLock, timeout: float | None = None) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(FileLock, "acquire", refuse)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_two_processes_without_locks_end_with_the_same_corpus(
    cache: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_locks(monkeypatch)
    processes = [start(cache) for _ in range(3)]
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    corpus = cached_corpus(KEY, lambda: pytest.fail("the corpus is there"))
    assert len(corpus.ends) == len(TEXTS)
    assert content(cache) == whole(monkeypatch, tmp_path / "whole")
    assert len([line for line in said if "has no locks" in line]) == 1  # of `whole`


def test_a_lock_that_fails_otherwise_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, errno.EIO)
    with pytest.raises(UserError, match="Input/output error"):
        cached_corpus(KEY, letters)


def as_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 1)
        cached_corpus(KEY, letters)


@pytest.mark.parametrize("moment", [1, 20, 60])
def test_a_process_that_is_overtaken_uses_the_corpus_of_the_other(
    moment: int, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without locks, another one finishes, and removes the shards, while this one encodes."""
    without_locks(monkeypatch)
    monkeypatch.setattr(shards, "THREADS", 1)
    encode = Counting()

    def overtaken(texts: list[str]) -> Iterator[np.ndarray]:
        for one in encode(texts):
            if encode.count == moment:
                as_another_process(monkeypatch)
            yield one

    corpus = cached_corpus(KEY, lambda: letters(overtaken))
    assert len(corpus.ends) == len(TEXTS)
    assert content(cache) == whole(monkeypatch, tmp_path / "whole")


def test_a_process_that_is_overtaken_while_it_joins_keeps_the_corpus_of_the_other(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch)

    class Late(Codec):
        def save(self, path: Path) -> None:
            as_another_process(monkeypatch)
            path.parent.mkdir(parents=True, exist_ok=True)  # the other has removed it
            super().save(path)

    cached_corpus(KEY, lambda: letters(codec=Late(byte_codec().tokenizer)))
    assert len(content(cache)) == 4


def test_what_killed_processes_of_this_machine_left_is_removed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped()
    own, other = shards.process_name().rpartition(".")[0], "elsewhere"
    for machine in (own, other):
        (parts(cache) / f"000009.{machine}.1.tmp").touch()
        (parts(cache) / f"{machine}.1.tmp").mkdir()
    left: list[str] = []
    encode = Counting()

    def looking(texts: list[str]) -> Iterator[np.ndarray]:
        left.extend(path.name for path in parts(cache).glob("*.1.tmp"))
        return encode(texts)

    cached_corpus(KEY, lambda: letters(looking))
    assert set(left) == {f"000009.{other}.1.tmp", f"{other}.1.tmp"}


def test_progress_is_said(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "NEWS_EVERY", -1.0)
    cached_corpus(KEY, letters)
    total = sum(len(text) + 1 for text in TEXTS)
    assert f"Tokenizing: {total:,} tokens so far, " in said[-1]
    assert said[-1].endswith(" per second")
