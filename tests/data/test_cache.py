"""The token cache: built once by one process, whole or not at all, rebuilt when damaged; and what reads it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models

from sedd_core import UserError, console
from sedd_core.cli import doctor
from sedd_core.data import cache as tokens
from sedd_core.data import checksums as token_sums
from sedd_core.data import shards
from sedd_core.data.cache import Tokenized, cached_corpus, content_hash, corpus_key
from sedd_core.data.packed import PackedData
from sedd_core.data.sequences import DocumentSequences, PackedSequences
from sedd_core.files import cache_folder
from sedd_core.stages.data import Split
from sedd_core.text.builtin import byte_codec
from sedd_core.text.codec import Codec

KEY = "k" * 64


class Builder:
    """Counts how often it builds."""

    def __init__(self, *documents: list[int], codec: Codec | None = None) -> None:
        self.calls, self.codec = 0, codec or byte_codec()
        self.documents = documents or (list(range(100)), list(range(100, 250)), [7])

    def __call__(self) -> Tokenized:
        self.calls += 1
        return Tokenized(self.codec, map(np.array, self.documents))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 200)
    monkeypatch.setattr(shards, "BATCH", 100)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEDD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("value", "folder"),
    [("", "/home/me/.cache/sedd"), (None, "/home/me/.cache/sedd"), ("~/x", "/home/me/x"), ("/y", "/y")],
)
def test_the_folder_of_the_cache(value: str | None, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("SEDD_CACHE") if value is None else monkeypatch.setenv("SEDD_CACHE", value)
    assert str(cache_folder()) == folder
    monkeypatch.setattr(doctor, "torch_findings", lambda: iter(()))
    monkeypatch.setattr(doctor, "hub_finding", lambda: doctor.Finding("hub", ""))
    assert [f.state for f in doctor.findings() if f.subject == "token cache"] == [folder]


def folders(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def test_it_is_built_once(cache: Path) -> None:
    build = Builder()
    for _ in range(3):
        corpus = cached_corpus(KEY, build)
        assert corpus.tokens.tolist() == [*range(250), 7]
        assert corpus.ends.tolist() == [100, 250, 251]
        assert corpus.codec.vocab_size == 256
    assert build.calls == 1
    cached_corpus("other" * 10, build)
    assert build.calls == 2
    assert len(folders(cache)) == 2


@pytest.mark.parametrize("file", ["tokens", "ends", "tokenizer.json", "corpus.json"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_cache_is_built_again(cache: Path, file: str, how: str) -> None:
    build = Builder()
    cached_corpus(KEY, build)
    (path,) = cache.rglob(file)
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert cached_corpus(KEY, build).tokens.tolist() == [*range(250), 7]
    assert build.calls == 2


@pytest.mark.parametrize(("size", "kind"), [(2**16, torch.uint16), (2**16 + 1, torch.int32)])
def test_tokens_take_as_few_bytes_as_hold_them(cache: Path, size: int, kind: torch.dtype) -> None:
    codec = Codec(Tokenizer(models.WordLevel({str(i): i for i in range(size)}, unk_token="0")))
    corpus = cached_corpus(KEY, Builder([size - 1, 3], codec=codec))
    assert corpus.tokens.dtype == kind
    assert PackedSequences(corpus.tokens, 2).batch(torch.tensor([0])).tokens.tolist() == [[size - 1, 3]]


def test_a_token_outside_the_vocabulary_is_refused(cache: Path) -> None:
    with pytest.raises(UserError, match="outside its vocabulary of 256"):
        cached_corpus(KEY, Builder([1, 256]))
    assert not folders(cache)


def test_a_split_without_documents(cache: Path) -> None:
    corpus = cached_corpus(KEY, lambda: Tokenized(byte_codec(), []))
    assert len(corpus.tokens) == len(corpus.ends) == 0


def test_a_failed_build_leaves_no_corpus_but_its_shards(cache: Path) -> None:
    class Full(Codec):
        def save(self, path: Path) -> None:
            raise OSError(28, "No space left on device")

    def unneeded(documents: list[np.ndarray]) -> list[np.ndarray]:
        raise AssertionError("the shards are there")

    build = Builder(codec=Full(byte_codec().tokenizer))
    with pytest.raises(UserError, match=r"No space left.*SEDD_CACHE"):
        cached_corpus(KEY, build)
    assert [path.suffix for path in folders(cache)] == [".parts"]
    corpus = cached_corpus(KEY, lambda: Tokenized(byte_codec(), build().documents, unneeded))
    assert corpus.tokens.tolist() == [*range(250), 7]
    assert len(folders(cache)) == 1


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEDD_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="SEDD_CACHE"):
        cached_corpus(KEY, Builder())


def test_the_folder_has_the_modes_that_the_user_asks_for(cache: Path) -> None:
    old = os.umask(0o027)
    try:
        cached_corpus(KEY, Builder())
    finally:
        os.umask(old)
    (folder,) = folders(cache)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o640}


def slow_documents(log: Path, number: int, pause: float) -> Iterator[np.ndarray]:
    with log.open("a") as file:
        file.write("built\n")
    for _ in range(number):
        time.sleep(pause)
        yield np.arange(100)


def build_slowly(log: Path, number: int, pause: float) -> None:
    """For a process of its own."""
    corpus = cached_corpus(KEY, lambda: Tokenized(byte_codec(), slow_documents(log, number, pause)))
    with log.open("a") as file:
        file.write(f"read {len(corpus.tokens)}\n")


def start(*arguments: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=build_slowly, args=arguments)
    process.start()
    return process


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_one_process_builds_and_the_others_wait(cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [start(log, 5, 0.1) for _ in range(3)]
    for process in processes:
        process.join(30)
    assert sorted(log.read_text().splitlines()) == ["built", "read 500", "read 500", "read 500"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.usefixtures("small_shards")
def test_a_builder_that_is_killed_is_succeeded_by_one_that_waits(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, said = tmp_path / "log", []
    monkeypatch.setattr(tokens, "PATIENCE", 0.1)
    monkeypatch.setattr(console, "say", said.append)
    victim = start(log, 1000, 0.1)
    while not list(cache.glob("*.parts/*")):
        time.sleep(0.02)
    waiting = start(log, 1000, 0.0)
    time.sleep(0.3)
    assert victim.pid
    os.kill(victim.pid, signal.SIGKILL)
    corpus = cached_corpus(KEY, lambda: Tokenized(byte_codec(), slow_documents(log, 1000, 0.0)))
    waiting.join(30)
    victim.join(30)
    assert len(corpus.tokens) == 100_000
    assert sorted(log.read_text().splitlines()) == ["built", "built", "read 100000"]
    assert len(folders(cache)) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.usefixtures("small_shards")
def test_waiting_is_said(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(tokens, "PATIENCE", 0.2)
    monkeypatch.setattr(console, "say", said.append)
    other = start(tmp_path / "log", 10, 0.1)
    while not list(cache.glob("*.parts/*")):
        time.sleep(0.02)
    build = Builder()
    assert len(cached_corpus(KEY, build).tokens) == 1000
    other.join(30)
    assert build.calls == 0
    assert len(said) == 1
    assert "Waiting for another process" in said[0]


def test_memory_does_not_grow_with_the_text(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 10_000)

    def peak(number: int) -> int:
        tracemalloc.start()
        cached_corpus(f"{number:064d}"[::-1], lambda: Tokenized(byte_codec(), (np.arange(250) for _ in range(number))))
        value = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return value

    few = peak(100)
    assert peak(10_000) < few + 500_000  # of 5 MB of tokens


def test_keys_tell_their_parts_apart() -> None:
    assert corpus_key("a", "b") != corpus_key("ab") != corpus_key("a", "b ")


def test_a_content_hash_is_of_content_alone(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / ".cache").mkdir(parents=True)
        (tmp_path / folder / "a").write_text("text")
    (tmp_path / "two" / ".cache" / "b").touch()
    os.utime(tmp_path / "two" / "a", (0, 0))
    assert content_hash(tmp_path / "one") == content_hash(tmp_path / "two")
    assert content_hash(tmp_path / "one" / "a") == content_hash(tmp_path / "two" / "a")
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "c")
    assert content_hash(tmp_path / "one") != content_hash(tmp_path / "two")
    with pytest.raises(FileNotFoundError):
        content_hash(tmp_path / "three")


def test_sequences_are_cut_without_overlap(cache: Path) -> None:
    sequences = PackedSequences(cached_corpus(KEY, Builder()).tokens, 100)
    assert len(sequences) == 2
    batch = sequences.batch(torch.tensor([1, 0])).tokens
    assert batch.dtype == torch.int64
    assert batch.tolist() == [list(range(100, 200)), list(range(100))]


def test_a_document_a_sequence(cache: Path) -> None:
    corpus = cached_corpus(KEY, Builder([1, 2, 9], [3, 4, 5, 6, 9], [9], [7, 8, 8, 9]))
    sequences = DocumentSequences(corpus.tokens, corpus.ends, 4)
    assert len(sequences) == 4
    batch = sequences.batch(torch.tensor([3, 0, 1, 2]))
    assert batch.tokens.tolist() == [[7, 8, 8, 9], [1, 2, 9, 9], [3, 4, 5, 6], [9, 9, 9, 9]]
    assert batch.loss_mask is None  # padding is data
    assert batch.full_text_mask().int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert batch.tokens.dtype == torch.int64


class Letters(PackedData):
    """Data of two words."""

    def __init__(self, *, length: int) -> None:
        self.length, self.made = length, []

    def describe(self) -> str:
        return "two words"

    def vocab_size(self) -> int | None:
        return 256

    def key(self, name: Split) -> str:
        return corpus_key("letters", name)

    def tokenize(self, name: Split) -> Tokenized:
        self.made.append(name)
        return Tokenized(byte_codec(), [np.array(byte_codec().encode({"train": "hello", "valid": "you"}[name]))])


def test_a_split_is_tokenized_when_it_is_asked_for(cache: Path) -> None:
    data = Letters(length=3)
    assert data.codec().decode(data.split("valid").batch(torch.tensor([0])).tokens[0].tolist()) == "you"
    assert data.made == ["valid", "train"] or data.made == ["train", "valid"]
    again = Letters(length=3)
    again.split("valid")
    assert again.made == []
    with pytest.raises(UserError, match=r"valid split of two words contains 3 tokens.*data\.length"):
        Letters(length=4).split("valid")


def zero(file: Path) -> None:
    """As a power cut leaves a file: its size is right."""
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize("file", ["tokens", "ends", "tokenizer.json", "corpus.json"])
def test_a_zeroed_cache_is_built_again_and_it_is_said(cache: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(console, "say", said.append)
    Letters(length=3).split("train")
    assert said == []
    (folder,) = folders(cache)
    zero(folder / file)
    data = Letters(length=5)
    assert data.codec().decode(data.split("train").batch(torch.tensor([0])).tokens[0].tolist()) == "hello"
    assert data.made == ["train"]
    assert len(said) == 1
    assert f"The token cache {folder} " in said[0]
    assert "will be rebuilt" in said[0]
    assert folders(cache) == [folder]
    assert Letters(length=5).split("train")
    assert len(said) == 1


def test_a_cache_without_checksums_is_built_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As version 0.1.0 wrote it."""
    said: list[str] = []
    monkeypatch.setattr(console, "say", said.append)
    Letters(length=3).split("train")
    (folder,) = folders(cache)
    (folder / "corpus.json").write_text('{"tokens": 5, "documents": 1}')
    data = Letters(length=3)
    data.check_cache()
    assert not folders(cache)
    data.split("train")
    assert data.made == ["train"]
    assert len(said) == 1
    assert "has no checksums" in said[0]


def test_the_first_process_of_a_machine_checks_for_the_others(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Letters(length=3).split("train")
    (folder,) = folders(cache)
    zero(folder / "tokens")
    monkeypatch.setenv("RANK", "9")
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("LOCAL_RANK", "1")
    Letters(length=3).check_cache()
    assert folders(cache) == [folder]
    monkeypatch.setenv("LOCAL_RANK", "0")
    Letters(length=3).check_cache()
    assert not folders(cache)


def test_a_check_reads_each_split_once_and_in_blocks(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = 40_000
    big = Letters(length=3)
    monkeypatch.setattr(big, "tokenize", lambda name: Tokenized(byte_codec(), (np.arange(250) for _ in range(number))))
    big.split("train")
    summed: list[str] = []
    original = token_sums.crc32
    monkeypatch.setattr(token_sums, "crc32", lambda path: summed.append(path.name) or original(path))
    again = Letters(length=3)
    tracemalloc.start()
    again.check_cache()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * token_sums.BLOCK < 20_000_000  # of 20 MB of tokens
    again.split("train")
    assert summed == ["tokens", "ends", "tokenizer.json"]


def test_a_long_document_becomes_several_sequences(cache: Path) -> None:
    documents = [[1, 2, 9], [3, 4, 5, 6, 7, 8, 3, 4, 9], [5, 6, 7, 9], [1, 2, 3, 4, 9]]
    corpus = cached_corpus(KEY, Builder(*documents))
    cut = DocumentSequences(corpus.tokens, corpus.ends, 4)
    split = DocumentSequences(corpus.tokens, corpus.ends, 4, "counted", "split")
    assert (cut.cut_off(), split.cut_off()) == ((2, 6), (0, 0))
    assert (len(cut), len(split)) == (4, 7)
    batch = split.batch(torch.tensor([6, 0, 1, 2, 3, 4, 5]))
    rows = [[9, 9, 9, 9], [1, 2, 9, 9], [3, 4, 5, 6], [7, 8, 3, 4], [9, 9, 9, 9], [5, 6, 7, 9], [1, 2, 3, 4]]
    assert batch.tokens.tolist() == rows
    in_order = split.batch(torch.arange(7))
    assert in_order.tokens[in_order.full_text_mask()].tolist() == corpus.tokens.tolist()  # none is lost
    assert len(DocumentSequences(corpus.tokens[:0], corpus.ends[:0], 4, "counted", "split")) == 0


def test_given_lengths_end_of_text_and_padding_do_not_count(cache: Path) -> None:
    corpus = cached_corpus(KEY, Builder([1, 2, 9], [3, 4, 5, 6, 9], [9], [7, 8, 8, 9]))
    batch = DocumentSequences(corpus.tokens, corpus.ends, 4, "conditioned").batch(torch.arange(4))
    assert batch.full_loss_mask().int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]]
    assert batch.full_text_mask().sum(-1).tolist() == [3, 4, 1, 4]


class Words(Letters):
    """Three documents, one of them too long."""

    packing = "document"

    def key(self, name: Split) -> str:
        return corpus_key("words", name)

    def tokenize(self, name: Split) -> Tokenized:
        return Tokenized(byte_codec(), [np.array([*word, 0]) for word in (b"no", b"yes", b"perhaps")])


def test_what_long_documents_lose_is_said_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(console, "say", said.append)
    data = Words(length=4)
    assert data.end() == 0
    for _ in range(2):
        data.split("train")
    assert len(said) == 1
    for words in ("1 of the 3 documents", "data.length=4", "4 of 15 tokens (26.7 %)", "data.long_documents=split"):
        assert words in said[0]
    split = Words(length=4)
    split.long_documents = "split"
    assert len(split.split("train")) == 4
    assert len(said) == 1
