"""Given texts stand in a sample exactly as given, whatever the kind of tokenizer, or are refused with the reason."""

from __future__ import annotations

import random
from itertools import groupby

import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from sedd_core import UserError
from sedd_core.sampling.prompts import Blank, Prompt, parse_prompt, prefix_suffix_prompt, tokenize_prompt
from sedd_core.text.codec import Codec
from sedd_core.text.exact_tokens import tokens_after
from tests.support.tokenizer_kinds import KINDS, SENTENCEPIECE, TEXT, WORDS, kind

LENGTH = 200
PARTS = [*WORDS.split(" "), *WORDS.lower().split(" "), " ", " ", " ", ",", ". ", "\n", "ti", "(", "7"]
texts = st.lists(st.sampled_from(PARTS), min_size=1, max_size=8).map("".join)
pieces = st.lists(st.one_of(texts, st.integers(1, 4).map(Blank)), min_size=1, max_size=7)


def check_in_place(prompt: Prompt, name: str, seed: int) -> None:
    """Fill the blanks with any tokens, decode, and find each text right behind what comes before it."""
    codec, noise = kind(name), random.Random(seed)
    known = tokenize_prompt(prompt, codec, LENGTH)
    filling = [i for i in range(codec.vocab_size) if (codec.tokenizer.id_to_token(i) or "<")[0] not in "<["]
    where = known.positions[0].tolist()
    row = [
        token if fixed else noise.choice(filling) for token, fixed in zip(known.tokens[0].tolist(), where, strict=True)
    ]
    runs = [list(run) for fixed, run in groupby(range(LENGTH), where.__getitem__) if fixed]
    written = [piece for piece in prompt.pieces if isinstance(piece, str)]
    for text, run in zip(written, runs, strict=True):
        before, upto = (codec.decode(row[:end]) for end in (run[0], run[-1] + 1))
        assert upto == before + text
        assert codec.decode(row).startswith(upto)


def refusal(prompt: Prompt, name: str) -> str | None:
    try:
        tokenize_prompt(prompt, kind(name), LENGTH)
    except UserError as error:
        return str(error)
    return None


def of_pieces(parts: list[str | Blank]) -> Prompt:
    """A prompt in which no text follows another, as in all that are parsed."""
    merged: list[str | Blank] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return Prompt(tuple(merged), "The prompt", "")


@pytest.mark.parametrize("name", KINDS)
@given_by(parts=pieces, seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_a_text_is_kept_or_refused(name: str, parts: list[str | Blank], seed: int) -> None:
    prompt = of_pieces(parts)
    refused = refusal(prompt, name)
    if refused is None:
        check_in_place(prompt, name, seed)
        return
    assert "cannot represent exactly" in refused or "which none of the model's" in refused
    assert name != "gpt2"  # byte-level tokens keep everything
    if name in SENTENCEPIECE:  # all but a space at the very start, which decoding takes off
        assert isinstance(prompt.pieces[0], str)
        assert prompt.pieces[0][0] == " "


@pytest.mark.parametrize("name", KINDS)
def test_the_text_after_a_blank_begins_as_written(name: str) -> None:
    """`is[[4]], and` came out as `is ... , and` with tokenizers that put a space before all that they are given."""
    for prompt in ("the name is[[4]], and the cat[[3]] sat", "[[2]], who is"):
        check_in_place(parse_prompt(prompt), name, 1)
    check_in_place(prefix_suffix_prompt("once upon", ", and"), name, 2)
    check_in_place(parse_prompt("is[[2]]and"), name, 3)  # within a word


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_the_start_of_a_sequence_is_the_tokenizers_own(name: str) -> None:
    codec = kind(name)
    known = tokenize_prompt(parse_prompt("the cat[[4]]"), codec, 60)
    assert known.tokens[known.positions].tolist() == codec.encode("the cat")


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [("The cat", "the cat"), ("the cat [[3]]", "the cat"), ("a  time", "a time")],
)
def test_bert_refuses_what_it_cannot_keep(prompt: str, shown: str) -> None:
    with pytest.raises(UserError, match=f"cannot represent exactly: it would appear in the sample as '{shown}'"):
        tokenize_prompt(parse_prompt(prompt), kind("bert"), 40)


def test_a_word_that_no_token_continues_is_refused() -> None:
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "is": 1, "and": 2}, unk_token="[none]"))  # fails at others
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece()
    assert tokenize_prompt(parse_prompt("is[[3]] and"), Codec(tokenizer), 5).tokens.tolist() == [[1, 0, 0, 0, 2]]
    with pytest.raises(UserError, match=r"contains 'and', .* it would appear in the sample as ' and'"):
        tokenize_prompt(parse_prompt("is[[3]]and"), Codec(tokenizer), 5)


@pytest.mark.parametrize("name", KINDS)
@given_by(before=texts, text=texts)
@settings(max_examples=60)
def test_tokens_after_a_text_are_those_of_the_whole(name: str, before: str, text: str) -> None:
    codec = kind(name)
    ids = tokens_after(codec, before, text)
    assert ids is None or codec.encode(before) + ids == codec.encode(before + text)
    assert tokens_after(codec, "", text) == codec.encode(text)


def test_the_kinds_differ() -> None:
    """They do what they are here for: markers at starts, lost capitals, lost blanks, tokens over blanks."""
    for name in SENTENCEPIECE:
        codec = kind(name)
        assert codec.encode(", and") != (tokens_after(codec, "is", ", and") or codec.encode("is, and")[1:])
        assert codec.decode(codec.encode(WORDS)) == WORDS
    assert kind("bert").decode(kind("bert").encode("The  cat")) == "the cat"
    assert kind("t5").decode(kind("t5").encode("the\n cat")) == "the cat"
    assert any("▁" in piece[1:] for piece in kind("llama").tokenizer.get_vocab())
    assert kind("gpt2").decode(kind("gpt2").encode(TEXT)) == TEXT
