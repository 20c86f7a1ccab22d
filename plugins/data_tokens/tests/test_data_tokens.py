"""Token ids from files."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import data_tokens
import numpy as np
import pytest
import torch

from sedd_core import UserError, plugin
from sedd_core.data.sequences import PackedSequences
from sedd_core.stages import Data
from sedd_core.testing import check_data
from sedd_core.text.builtin import byte_codec

IDS = np.arange(1000) % 300


def data(path: Path, **arguments: Any) -> Data:
    return plugin("data_tokens")(path=str(path), **{"vocab": 300, "length": 10, **arguments})


def tokens_of(source: Data, split: Any) -> list[int]:
    sequences = source.split(split)
    return sequences.batch(torch.arange(len(sequences))).tokens.flatten().tolist()


@pytest.mark.parametrize("ending", ["npy", "bin"])
def test_conformance(tmp_path: Path, ending: str) -> None:
    ids = np.random.default_rng(0).integers(300, size=1000).astype(np.uint16)
    for name, content in (("one", ids), ("other", ids[::-1].copy())):
        np.save(tmp_path / f"{name}.npy", content)
        content.tofile(tmp_path / f"{name}.bin")
    one, other = (tmp_path / f"{name}.{ending}" for name in ("one", "other"))
    check_data(lambda: data(one), other=data(other))
    check_data(lambda: data(one, valid_path=str(other)))


@pytest.mark.parametrize("kind", ["uint16", "uint32", "int32", "int64", "uint64"])
def test_ids_are_read_as_they_are(tmp_path: Path, kind: str) -> None:
    np.save(tmp_path / "ids.npy", IDS.astype(kind))
    sources = [data(tmp_path / "ids.npy")]
    if kind in ("uint16", "uint32"):
        IDS.astype(kind).tofile(tmp_path / "ids.bin")
        sources.append(data(tmp_path / "ids.bin", id_type=kind))
    for source in sources:
        assert tokens_of(source, "train") == IDS[:900].tolist()
        assert tokens_of(source, "valid") == IDS[900:].tolist()
        assert source.title == "ids"


def test_a_file_to_validate_on(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", IDS)
    np.save(tmp_path / "valid.npy", IDS[:25])
    source = data(tmp_path / "train.npy", valid_path=str(tmp_path / "valid.npy"))
    assert len(tokens_of(source, "train")) == 1000
    assert tokens_of(source, "valid") == IDS[:20].tolist()
    assert source.fingerprint() != data(tmp_path / "train.npy").fingerprint()
    with pytest.raises(UserError, match=r"train\.npy is in both training and validation data"):
        data(tmp_path / "train.npy", valid_path=str(tmp_path / "train.npy")).fingerprint()


def test_the_file_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_tokens, "BLOCK", 1000)
    np.save(tmp_path / "ids.npy", np.tile(IDS, 1000))
    tracemalloc.start()
    data(tmp_path / "ids.npy").split("train")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000  # of 8 MB
    tracemalloc.stop()


def test_a_file_is_never_written(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", IDS)
    before = (tmp_path / "ids.npy").read_bytes()
    sequences = data(tmp_path / "ids.npy").split("train")
    assert isinstance(sequences, PackedSequences)
    sequences.tokens.zero_()
    assert (tmp_path / "ids.npy").read_bytes() == before


def test_samples_are_ids_or_text(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", IDS % 256)
    codec = data(tmp_path / "ids.npy").codec()
    assert codec.decode([12, 7, 299]) == "12 7 299"
    assert codec.encode("12 7 299") == [12, 7, 299]
    assert codec.unknown("12 300") is not None
    assert codec.characters([12, 7]) == 0
    byte_codec().save(tmp_path / "tokenizer.json")
    text = data(tmp_path / "ids.npy", vocab=256, tokenizer=str(tmp_path / "tokenizer.json")).codec()
    assert text.decode([104, 105]) == "hi"
    assert text.characters([104, 105]) == 2


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (IDS, {"vocab": 299}, r"has the id 299 at index 299, but data\.vocab=299"),
        (-IDS, {}, "has the id -1 at index 1"),
        (IDS.reshape(10, 100), {}, "one-dimensional integers"),
        (IDS.astype(float), {}, "contains float64"),
        (IDS.astype(">i4"), {}, "byte order"),
        (IDS[:20], {}, r"valid split .* contains 2 tokens.*data\.length"),
        (np.array([{}], object), {}, "cannot be read as token ids"),
    ],
)
def test_what_are_no_ids_is_refused(tmp_path: Path, content: np.ndarray, arguments: dict, words: str) -> None:
    np.save(tmp_path / "ids.npy", content, allow_pickle=True)
    with pytest.raises(UserError, match=words):
        data(tmp_path / "ids.npy", **arguments).split("valid")


def test_other_files_and_tokenizers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("1 2 3")
    for name, words in (("ids.txt", r"neither \.npy nor \.bin"), ("nowhere.bin", r"no file .*nowhere\.bin")):
        with pytest.raises(UserError, match=words):
            data(tmp_path / name).split("train")
    with pytest.raises(ValueError, match="'bpe' is made from text"):
        data(tmp_path / "ids.npy", tokenizer="bpe")
    byte_codec().save(tmp_path / "tokenizer.json")
    with pytest.raises(UserError, match=r"has 256 tokens, not 300: set data\.vocab"):
        data(tmp_path / "ids.npy", tokenizer=str(tmp_path / "tokenizer.json")).codec()
