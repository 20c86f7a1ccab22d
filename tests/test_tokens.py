"""The token cache: built once, whole or not at all, rebuilt when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from sedd_core import UserError
from sedd_core.codec import Codec, byte_codec
from sedd_core.stages import PackedSequences
from sedd_core.tokens import cached_corpus, corpus_key


class Builder:
    """Counts how often it builds."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> tuple[Codec, list[int], list[int]]:
        self.calls += 1
        return byte_codec(), list(range(250)), [1, 2, 3]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEDD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_built_once(cache: Path) -> None:
    build = Builder()
    for _ in range(3):
        corpus = cached_corpus("k" * 64, build)
        assert corpus.train.tolist() == list(range(250))
        assert corpus.valid.tolist() == [1, 2, 3]
        assert corpus.codec.vocab_size == 256
    assert build.calls == 1
    cached_corpus("other" * 10, build)
    assert build.calls == 2
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("file", ["train.npy", "tokenizer.json", "whole"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_cache_is_built_again(cache: Path, file: str, how: str) -> None:
    build = Builder()
    cached_corpus("k" * 64, build)
    (path,) = cache.rglob(file)
    if how == "gone" or file == "whole":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert cached_corpus("k" * 64, build).train.tolist() == list(range(250))
    assert build.calls == 2


def test_a_failed_build_leaves_nothing(cache: Path) -> None:
    class Full(Codec):
        def save(self, path: Path) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"No space left.*SEDD_CACHE"):
        cached_corpus("k" * 64, lambda: (Full(byte_codec().tokenizer), [1], [2]))
    assert not list(cache.iterdir())


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEDD_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="SEDD_CACHE"):
        cached_corpus("k" * 64, Builder())


def test_keys_tell_their_parts_apart() -> None:
    assert corpus_key("a", "b") != corpus_key("ab") != corpus_key("a", "b ")


def test_sequences_are_cut_without_overlap(cache: Path) -> None:
    import torch

    tokens = cached_corpus("k" * 64, Builder()).train
    sequences = PackedSequences(tokens, 100)
    assert len(sequences) == 2
    batch = sequences.batch(torch.tensor([1, 0])).tokens
    assert batch.dtype == torch.int64
    assert batch.tolist() == [list(range(100, 200)), list(range(100))]
