"""Codecs: nothing is lost, and counts of pieces add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from sedd_core import UserError
from sedd_core.codec import UNKNOWN, Codec, bpe_codec, byte_codec, character_codec

TEXT = "the quick brown fox jumps over the lazy dog; naïve café — 日本語 😀\n\tif x:\n        return  y\n" * 20
BYTES, PAIRS, CHARACTERS = byte_codec(), bpe_codec(TEXT, 300), character_codec(TEXT)
anything = st.text(st.characters(codec="utf-8"), max_size=80)


@pytest.mark.parametrize("codec", [BYTES, PAIRS], ids=["bytes", "pairs"])
@given(text=anything)
@settings(max_examples=60, deadline=None)
def test_any_text_comes_back(codec: Codec, text: str) -> None:
    ids = codec.encode(text)
    assert codec.decode(ids) == text
    assert all(0 <= index < codec.vocab_size for index in ids)
    for cut in range(len(ids) + 1):  # also within a character
        left, right = ids[:cut], ids[cut:]
        assert codec.characters(left) + codec.characters(right) == len(text)
        assert codec.bytes(left) + codec.bytes(right) == len(text.encode())


@given(text=st.text(st.sampled_from(sorted(set(TEXT))), max_size=80))
@settings(max_examples=60, deadline=None)
def test_known_characters_come_back(text: str) -> None:
    ids = CHARACTERS.encode(text)
    assert CHARACTERS.decode(ids) == text
    assert len(ids) == len(text) == CHARACTERS.characters(ids)


def test_sizes() -> None:
    assert (BYTES.vocab_size, PAIRS.vocab_size) == (256, 300)
    assert CHARACTERS.vocab_size == len(set(TEXT)) + 1
    assert CHARACTERS.decode(CHARACTERS.encode("Zthe")) == f"{UNKNOWN}the"
    assert BYTES.encode("é\n") == [0xC3, 0xA9, 0x0A]
    assert len(PAIRS.encode(TEXT)) < len(TEXT)


def test_too_few_pairs_are_said() -> None:
    with pytest.raises(UserError, match=r"gives \d+ byte-pair pieces, not 5000"):
        bpe_codec("abc", 5000)


@pytest.mark.parametrize("codec", [BYTES, PAIRS, CHARACTERS], ids=["bytes", "pairs", "characters"])
def test_a_codec_is_a_file(codec: Codec, tmp_path: Path) -> None:
    codec.save(tmp_path / "tokenizer.json")
    again = Codec.load(tmp_path / "tokenizer.json")
    ids = codec.encode(TEXT)
    assert again.encode(TEXT) == ids
    assert (again.decode(ids), again.characters(ids), again.vocab_size) == (TEXT, len(TEXT), codec.vocab_size)


def test_a_file_that_is_no_codec(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tokenizer at"):
        Codec.load(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UserError, match=r"is no tokenizer\.json"):
        Codec.load(tmp_path / "x.json")


@pytest.mark.parametrize("make", [byte_codec, lambda: character_codec(TEXT)], ids=["bytes", "characters"])
def test_the_end_of_a_text_stands_for_no_character(make: Callable[[], Codec]) -> None:
    codec = make()
    size = codec.bytes(codec.encode(TEXT))
    codec = Codec(codec.tokenizer)
    codec.tokenizer.add_special_tokens(["<|endoftext|>"])
    ids = [*codec.encode(TEXT), codec.vocab_size - 1]
    assert codec.decode(ids) == TEXT + "<|endoftext|>"
    assert codec.characters(ids) == len(TEXT)
    assert codec.bytes(ids) == size


def reloaded(codec: Codec) -> Codec:
    return Codec(Tokenizer.from_str(codec.tokenizer.to_str()))


def changed(codec: Codec, **parts: object) -> Codec:
    """The same with other parts of its tokenizer.json."""
    content = json.loads(codec.tokenizer.to_str())
    for name, value in parts.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) and content[name] else value
    return Codec(Tokenizer.from_str(json.dumps(content)))


def test_what_makes_two_tokenizers_differ() -> None:
    bpe = bpe_codec("the cat sat on the mat, and the dog ate the hat", 262)
    merges = json.loads(bpe.tokenizer.to_str())["model"]["merges"]
    for same in (
        reloaded(bpe),
        changed(bpe, decoder=None),
        changed(bpe, model={"continuing_subword_prefix": "", "unk_token": None}),
        changed(bpe, pre_tokenizer={"trim_offsets": False}),
    ):
        assert bpe.difference(same) is None
    for other in (
        changed(bpe, model={"merges": merges[::-1]}),
        changed(bpe, pre_tokenizer={"add_prefix_space": True}),
        changed(bpe, normalizer={"type": "Lowercase"}),
    ):
        assert "merges" in str(bpe.difference(other))
    assert "256 tokens and the other 262" in str(byte_codec().difference(bpe))
    assert "token 1 is 'a' in the one and 'b'" in str(character_codec("ac").difference(character_codec("bc")))


def test_scores_are_rules() -> None:
    one, other = (
        Codec(Tokenizer(models.Unigram([("a", 0.0), ("b", -1.0), ("ab", score)], unk_id=0))) for score in (-2.0, 0.0)
    )
    assert one.encode("ab") != other.encode("ab")
    assert one.difference(other)
    assert one.difference(reloaded(one)) is None
