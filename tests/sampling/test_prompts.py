"""Prompts: blanks in their places, exact texts, and one clear message for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from head_score import ScoreHead
from hypothesis import given as any_of
from hypothesis import settings
from hypothesis import strategies as st

from sedd_core import UserError, plugin
from sedd_core.model.score import ScoreModel
from sedd_core.sampling.prompts import (
    Blank,
    fixed_tokens,
    parse_prompt,
    prefix_suffix_prompt,
    read_prompts,
    tokenize_prompt,
    tokenize_prompts,
)
from sedd_core.sampling.sample import sample
from sedd_core.stages.sampler import FixedTokens
from sedd_core.text.builtin import bpe_codec, byte_codec, character_codec
from sedd_core.text.codec import Codec

BYTES, LETTERS = byte_codec(), character_codec("abcdefghijklmnopqrstuvwxyz ")


def shown(prompt: FixedTokens, codec: Codec, row: int = 0) -> str:
    """Known tokens as text, a dot for each free one; for codecs of one character a token."""
    pairs = zip(prompt.tokens[row].tolist(), prompt.positions[row].tolist(), strict=True)
    return "".join(codec.decode([token]) if known else "." for token, known in pairs)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("abc", "abc......."),
        ("", ".........."),
        ("[[*]]", ".........."),
        ("abcdefghij", "abcdefghij"),
        ("abc[[*]]", "abc......."),
        ("[[*]]abc", ".......abc"),
        ("ab[[*]]c", "ab.......c"),
        ("[[2]]ab[[3]]c", "..ab...c.."),
        ("a[[*]]b[[*]]c", "a....b...c"),
        ("[[*]]a[[*]][[2]]b[[*]]", "..a....b.."),
        ("[[*]][[*]]abcdefgh", "..abcdefgh"),
        ("[[10]]", ".........."),
        ("a]]b", "a]]b......"),
        (r"\[[*]]", "[[*]]....."),
        (r"a\nb\\n\t", "a\nb\\n\\t..."),
    ],
)
def test_where_a_prompt_stands(prompt: str, expected: str) -> None:
    known = tokenize_prompt(parse_prompt(prompt), BYTES, 10)
    assert known.tokens.shape == known.positions.shape == (1, 10)
    assert shown(known, BYTES) == expected


@any_of(
    pieces=st.lists(st.one_of(st.text("ab c", min_size=1, max_size=4), st.none(), st.integers(1, 4)), max_size=6),
    spare=st.integers(0, 9),
)
@settings(max_examples=100, deadline=None)
def test_every_token_has_one_place(pieces: list[str | int | None], spare: int) -> None:
    """Texts in order, fixed blanks as long as they say, open blanks of sizes that differ by one at most."""
    prompt = "".join(p if isinstance(p, str) else "[[*]]" if p is None else f"[[{p}]]" for p in pieces)
    count = pieces.count(None)
    length = sum(len(p) if isinstance(p, str) else p or 0 for p in pieces) + count + spare
    share, extra = divmod(count + spare, count or 1)
    expected, seen = "", 0
    for piece in pieces:
        if isinstance(piece, str):
            expected += piece
        else:
            expected += "." * (piece or share + (seen < extra))
            seen += piece is None
    assert shown(tokenize_prompt(parse_prompt(prompt), LETTERS, length or 1), LETTERS) == expected.ljust(
        length or 1, "."
    )


def test_prefix_and_suffix_are_taken_as_written() -> None:
    assert shown(tokenize_prompt(prefix_suffix_prompt("ab", "c"), BYTES, 6), BYTES) == "ab...c"
    assert shown(tokenize_prompt(prefix_suffix_prompt(prefix="ab"), BYTES, 6), BYTES) == "ab...."
    assert shown(tokenize_prompt(prefix_suffix_prompt(suffix="ab"), BYTES, 6), BYTES) == "....ab"
    assert shown(tokenize_prompt(prefix_suffix_prompt(r"[[*]]\n", "x"), BYTES, 10), BYTES) == r"[[*]]\n..x"


def test_texts_are_encoded_piece_by_piece() -> None:
    codec = bpe_codec("my name is and so it is and so on and " * 30, 270)
    pieces = ["my name is ", "and so on"]
    known = tokenize_prompt(parse_prompt("my name is [[*]]and so on"), codec, 40)
    tokens = known.tokens[known.positions].tolist()
    assert tokens == [token for piece in pieces for token in codec.encode(piece)]
    assert codec.decode(tokens) == "".join(pieces)
    assert tokens != codec.encode("".join(pieces))  # no piece reaches across a blank


def test_samples_of_several_prompts() -> None:
    known = tokenize_prompts([parse_prompt("a"), parse_prompt("[[*]]b")], LETTERS, 3, per_prompt=2)
    assert [shown(known, LETTERS, row) for row in range(4)] == ["a..", "a..", "..b", "..b"]


def test_any_positions() -> None:
    known = fixed_tokens({2: 7, 0: 5}, 4)
    assert known.positions.tolist() == [[True, False, True, False]]
    assert known.tokens[known.positions].tolist() == [5, 7]
    with pytest.raises(UserError, match="position 4, but positions run from 0 to 3"):
        fixed_tokens({4: 1}, 4)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("abcdefghijk", r"needs 11 tokens \(11 of text, 0 of fixed blanks\), but a sample has 10"),
        ("ab[[9]]", r"needs 11 tokens \(2 of text, 9 of fixed blanks\), but a sample has 10"),
        ("abcdefghij[[*]]", r"needs 11 tokens .* 1 for each open blank, of which it has 1\), but a sample has 10"),
        ("[[*]]abcdefghi[[*]]", "needs 11 tokens .* of which it has 2"),
        ("a[[x]]", r"contains '\[\[x\]\]', which is not a blank: write \[\[\*\]\]"),
        ("a[[0]]", r"contains '\[\[0\]\]', which is not a blank"),
        ("a[[-3]]", r"contains '\[\[-3\]\]', which is not a blank"),
        ("a[[]]", r"contains '\[\[\]\]', which is not a blank"),
        ("a[[1.5]]", "which is not a blank"),
        ("a[[2", r"contains '\[\[2', which is not a blank"),
        ("abcé", "contains 'é', which none of the model's 28 tokens represents"),
        ("ab\udcff", "not UTF-8 at character 2"),
    ],
)
def test_a_wrong_prompt_is_one_clear_message(prompt: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        tokenize_prompt(parse_prompt(prompt), LETTERS, 10)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("The prompt ")


def test_a_character_that_a_codec_without_a_token_for_the_unknown_lacks() -> None:
    """text8's codec: its tokenizer refuses the whole text."""
    codec = character_codec("abc ", unknown=False)
    with pytest.raises(UserError, match="The prompt contains 'B', which none of the model's 4 tokens represents"):
        tokenize_prompt(parse_prompt("a[[*]]cabBage"), codec, 10)
    assert shown(tokenize_prompt(parse_prompt("a cab"), codec, 5), codec) == "a cab"


@pytest.mark.parametrize(
    ("prefix", "suffix", "name"), [("ab", "", "The prefix"), ("", "ab", "The suffix"), ("a", "b", "The prefix with")]
)
def test_ends_that_do_not_fit_are_called_by_name(prefix: str, suffix: str, name: str) -> None:
    with pytest.raises(UserError, match=name + r".* needs 3 tokens"):
        tokenize_prompt(prefix_suffix_prompt(prefix, suffix), BYTES, 2)


def test_a_file_of_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("\ufeffone [[*]]\n\n  \r\nline\\nbreak \n", encoding="utf-8")
    assert [prompt.pieces for prompt in read_prompts(path)] == [("one ", Blank(None)), ("line\nbreak ",)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\n\nb[[x]]\n", r"prompts\.txt, line 3, contains '\[\[x\]\]'"),
        (b"a\nbcdefghijkl\n", r"prompts\.txt, line 2, needs 11 tokens"),
        (b"a\n\xff\n", "not UTF-8 .byte 2."),
        (b"\n \n", "contains no prompts"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_wrong_file_of_prompts(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        tokenize_prompts(read_prompts(path), LETTERS, 10, 1)


@pytest.mark.parametrize("sampler", ["analytic", "euler"])
@pytest.mark.parametrize(("graph", "noise"), [("absorb", "loglinear"), ("uniform", "geometric")])
def test_given_tokens_survive_every_step(graph: str, noise: str, sampler: str, seed: int) -> None:
    process = plugin(f"graph_{graph}")(vocab_size=LETTERS.vocab_size)
    torch.manual_seed(seed)
    backbone = plugin("model_ddit")(
        num_states=process.num_states, hidden_size=16, n_blocks=1, n_heads=2, cond_dim=8, dropout=0.0
    )
    model = ScoreModel(backbone.eval(), process, ScoreHead(scale_by_sigma=graph == "absorb"))
    known = tokenize_prompts(
        [parse_prompt("hello [[*]] and [[2]]bye"), prefix_suffix_prompt("to be", "not")], LETTERS, 24, per_prompt=2
    )
    states: list[torch.Tensor] = []
    tokens = sample(
        model,
        plugin(f"noise_{noise}")(),
        plugin(f"sampler_{sampler}")(),
        count=4,
        length=24,
        steps=6,
        t_min=1e-3,
        seed=seed,
        batch_size=4,
        fixed_tokens=known,
        on_step=states.append,
    )
    for state in [*states, tokens]:
        assert torch.equal(state[known.positions], known.tokens[known.positions])
    text = LETTERS.decode(tokens[0].tolist())
    assert text.startswith("hello ")
    assert text[-10:-5] == " and "
    assert text.endswith("bye")


@pytest.mark.parametrize("prefix", ["", "a\\nb", "two\nlines \\\\ [[*]] [[3]]", "\\[[", "[[[", "\\"])
@pytest.mark.parametrize("suffix", ["", "[[", "\\n\n."])
def test_the_text_of_a_prefix_and_a_suffix_is_the_same_prompt(prefix: str, suffix: str) -> None:
    prompt = prefix_suffix_prompt(prefix, suffix)
    assert parse_prompt(prompt.text).pieces == prompt.pieces
