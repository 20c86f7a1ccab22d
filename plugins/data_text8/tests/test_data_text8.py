"""text8: its parts, its 27 characters, and what is not text8."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

import data_text8
import numpy as np
import pytest
import torch

from sedd_core import UserError, plugin
from sedd_core.stages import Data
from sedd_core.testing import check_data

TEXT = " anarchism originated as a term of abuse" * 10_000


def data(path: object, **arguments: Any) -> Data:
    return plugin("data_text8")(path=str(path), **{"length": 40, **arguments})


def text_of(source: Data, split: str) -> str:
    sequences = source.split(split)
    tokens = sequences.batch(torch.arange(len(sequences))).tokens
    return source.codec().decode(tokens.flatten().tolist())


def write(path: Path, text: str) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("text8", text)
    else:
        with (gzip.open if path.suffix == ".gz" else open)(path, "wt") as file:
            file.write(text)
    return path


def test_conformance(tmp_path: Path) -> None:
    letters = np.random.default_rng(0).choice(list(data_text8.CHARACTERS), 310_000)
    for name, text in (("one", "".join(letters)), ("other", "".join(letters[::-1]))):
        write(tmp_path / name, text)
    check_data(lambda: data(tmp_path / "one"), other=data(tmp_path / "other"))


def test_another_text_of_the_same_letters_is_not_called_text8(tmp_path: Path) -> None:
    assert data(write(tmp_path / "letters.txt", "a letter to a friend " * 20_000)).title == "letters"


@pytest.mark.parametrize("name", ["text8", "text8.gz", "text8.zip"])
def test_a_shorter_text_is_split_before_its_end_and_labeled(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = data(write(tmp_path / name, TEXT + "\n"))
    assert source.vocab_size() == source.codec().vocab_size == 27
    assert text_of(source, "train") == TEXT[:200_000]
    assert text_of(source, "valid") == TEXT[200_000:300_000]
    assert source.title == "text8_part"
    assert "400,000 of 100,000,000 characters: its figures cannot be compared" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_whole_text_has_its_usual_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here scaled down by 250; the parts themselves are those of the literature."""
    assert {"train": slice(0, 90_000_000), "valid": slice(90_000_000, 95_000_000)} == data_text8.PARTS
    scaled = {name: slice(part.start // 250, part.stop // 250) for name, part in data_text8.PARTS.items()}
    monkeypatch.setattr(data_text8, "PARTS", scaled)
    monkeypatch.setattr(data_text8, "WHOLE", 400_000)
    source = data(write(tmp_path / "text8", TEXT))
    assert text_of(source, "train") == TEXT[:360_000]
    assert text_of(source, "valid") == TEXT[360_000:380_000]


def test_a_byte_order_mark_is_no_character(tmp_path: Path) -> None:
    text = "a text of its own in the cache " * 15_000
    marked, plain = (data(write(tmp_path / name, mark + text)) for name, mark in (("a", "\ufeff"), ("b", "")))
    assert text_of(marked, "train") == text_of(plain, "train")


def test_tokens_are_the_codecs(tmp_path: Path) -> None:
    alphabet = data_text8.CHARACTERS
    source = data(write(tmp_path / "text8", alphabet * 20_000), length=27)
    assert source.split("train").batch(torch.tensor([0])).tokens[0].tolist() == source.codec().encode(alphabet)
    assert source.codec().encode(alphabet) == list(range(27))
    with pytest.raises(UserError, match="no tokens for all of 'Hello'"):
        source.codec().encode("Hello")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text8", b"Hello " * 100_000, "contains 'H'; text8 has only spaces and the letters a to z"),
        ("text8", b"hello " * 10_000, "only 60,000 characters"),
        ("text8", "hëllo".encode() * 100_000, "contains 'ë'"),
        ("text8.gz", b"hello", "cannot be read as text8"),
        ("text8.zip", b"hello", "cannot be read as text8"),
        ("text8.zip", b"PK\5\6" + bytes(18), "cannot be read as text8"),  # an empty archive
        ("nowhere", None, "There is no file"),
    ],
)
def test_what_is_no_text8_is_refused(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        data(tmp_path / name).split("valid")


def test_without_the_hub_it_is_said_what_to_download(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"text8\.zip.*set data\.path"):
        plugin("data_text8")().split("train")


def test_the_beginning_of_the_real_text(shared: Path) -> None:
    source = data(shared / "data" / "text8" / "text8.first3010294.gz")
    assert len(source.split("valid")) == 2500
    assert text_of(source, "train").startswith(" anarchism originated as a term of abuse first used against")
