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
from sedd_core.text.builtin import UNKNOWN, bpe_codec, byte_codec, character_codec
from sedd_core.text.codec import Codec

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
    with pytest.raises(UserError, match=r"gives \d+ byte-pair tokens, not 5000"):
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
    with pytest.raises(UserError, match=r"is not a usable tokenizer\.json"):
        Codec.load(tmp_path / "x.json")


def written(folder: Path, **changes: object) -> Path:
    """A tokenizer.json of the letters a and b with some parts changed."""
    path = folder / "tokenizer.json"
    character_codec("ab", unknown=False).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def replace(pattern: dict[str, str], content: str) -> dict[str, object]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def model(vocab: dict[str, int]) -> dict[str, object]:
    return {"type": "WordLevel", "vocab": vocab, "unk_token": "a"}


BOMBS = {
    "doubling": (
        {"decoder": {"type": "Sequence", "decoders": [replace({"String": "a"}, "aa")] * 60}},
        "times as long",
    ),
    "between all": (
        {"decoder": {"type": "Sequence", "decoders": [replace({"String": ""}, "a")] * 60}},
        "times as long",
    ),
    "a pattern of nothing": (
        {"normalizer": {"type": "Sequence", "normalizers": [replace({"Regex": "x*"}, "a")] * 60}},
        "times as long",
    ),
    "nested": (
        {
            "normalizer": {
                "type": "Sequence",
                "normalizers": [{"type": "Sequence", "normalizers": [replace({"String": "a"}, "a" * 20)] * 2}] * 2,
            }
        },
        "its normalizer has 7 parts",
    ),
    "many parts": ({"decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}] * 100_000}}, "100,001 parts"),
    "a long token": ({"model": model({"a": 0, "b" * 100_000: 1})}, "a string of 100,000 characters"),
    "ids with a hole": ({"model": model({"a": 0, "b": 10**9})}, "ids up to 1,000,000,000"),
    "an id twice": ({"model": model({"a": 0, "b": 0})}, "2 tokens with 1 ids"),
    "no tokens": ({"model": model({})}, "0 tokens"),
    "another model": ({"model": {"type": "Nonsense"}}, "is not a tokenizer"),
    "no model": ({"model": None}, "it has no 'model'"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_tokenizer_without_bounds_is_refused(bomb: str, tmp_path: Path) -> None:
    """Before it is used: 2^60 letters of one have no end and no memory."""
    changes, words = BOMBS[bomb]
    with pytest.raises(UserError, match=words):
        Codec.load(written(tmp_path, **changes))


def test_parts_in_use_are_not_bombs(tmp_path: Path) -> None:
    """Llama's, ALBERT's and XLM-R's."""
    parts = [
        {"type": "Prepend", "prepend": "▁"},
        *(replace({"String": a}, b) for a, b in [(" ", "▁"), ("``", '"'), ("''", '"')]),
        *([replace({"Regex": " {2,}"}, " ")] * 3),
    ]
    chain = {"type": "Sequence", "normalizers": parts}
    assert Codec.load(written(tmp_path, normalizer=chain)).encode("") == []


def test_padding_of_a_file_is_not_obeyed(tmp_path: Path) -> None:
    """Up to 2^40 tokens, it would have no end."""
    padding = {"strategy": {"Fixed": 2**40}, "direction": "Right", "pad_to_multiple_of": None}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "a"}
    assert Codec.load(written(tmp_path, padding=padding)).encode("ab") == [0, 1]


def test_a_panic_of_the_tokenizer_is_a_message(tmp_path: Path) -> None:
    """One is no Exception, and came through as a traceback."""
    codec = Codec.load(written(tmp_path, decoder={"type": "Strip", "content": "a", "start": 0, "stop": 2**40}))
    for decode in (codec.decode, codec.text):
        with pytest.raises(UserError, match="cannot decode its own tokens: index out of bounds"):
            decode([0, 1])
    regex = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    codec = Codec.load(written(tmp_path, pre_tokenizer=regex))
    with pytest.raises(UserError, match="has no tokens for all of"):
        codec.encode("a" * 28 + "b")


def test_a_byte_level_decoder_over_other_tokens_counts_text(tmp_path: Path) -> None:
    path = written(
        tmp_path, decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    )
    path.write_text(path.read_text().replace('"b"', '"日"'))
    codec = Codec.load(path)
    assert codec.characters([0, 1]) == len(codec.text([0, 1]))


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


def test_a_batch_is_encoded_as_its_texts_are() -> None:
    for codec in (BYTES, PAIRS):
        texts = ["to be", "", "not être", "to be or not to be " * 50]
        assert codec.encode_batch(texts) == [codec.encode(text) for text in texts]
    assert byte_codec().encode_batch([]) == []


def test_the_text_of_a_batch_without_tokens_is_named() -> None:
    with pytest.raises(UserError, match="no tokens for all of 'abx'"):
        character_codec("ab", unknown=False).encode_batch(["ab", "abx", "a"])
