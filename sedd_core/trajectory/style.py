"""Appearance of a position at a frame, shared by the terminal, the HTML page and the SVG.

Each position has one kind: `given`, `mask`, `prior` (a token that has not changed since the prior), or an age from
`age0` (changed in this frame) to `age5`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import torch
from jaxtyping import Bool, Int32
from torch import Tensor

from ..console import printable
from ..text.codec import Codec

AGES = (0, 1, 2, 4, 8, 16)  # minimum number of frames for `age0`, `age1`, ...
MASK = "\N{LIGHT SHADE}"  # for output that consists of characters
NEVER = -1  # age of a position that has not changed since the first frame


# (on light, on dark)
PAPER = ("#ffffff", "#14171c")
COLORS = {
    "given": ("#1c63b7", "#74b4ff"),
    "mask": ("#d5d9df", "#353b45"),
    "prior": ("#a3aab4", "#636b78"),
    "age0": ("#e8450a", "#ffc53d"),
    "age1": ("#cf4710", "#f7c55b"),
    "age2": ("#ab481b", "#eec67a"),
    "age3": ("#834527", "#e4c998"),
    "age4": ("#573a30", "#d9cdb6"),
    "age5": ("#24292f", "#ced4dc"),
}


def later_ages(
    ages: Int32[Tensor, "*shape"], before: Int32[Tensor, "*shape"], after: Int32[Tensor, "*shape"]
) -> Int32[Tensor, "*shape"]:
    """Ages one frame later: 0 at changed positions, one more at positions that changed earlier, else NEVER.

    Args:
        ages: Ages at the earlier frame, in frames.
        before: State at the earlier frame.
        after: State at the later frame.
    """
    older = torch.where(ages == NEVER, ages, ages + 1)
    return older.masked_fill(before != after, 0)


def kinds(
    state: Int32[Tensor, " L"], ages: Int32[Tensor, " L"], given: Bool[Tensor, " L"], mask: int | None
) -> list[str]:
    """The kind of each position: "given", "mask", "prior" or "age0" to "age5".

    Args:
        state: Token or mask at each position [L].
        ages: Age of each position in frames [L].
        given: Whether the token at a position is fixed by the prompt [L].
        mask: Mask state of the graph; None if it has none.
    """
    positions = zip(state.tolist(), ages.tolist(), given.tolist(), strict=True)
    return [_kind(token == mask, age, fixed) for token, age, fixed in positions]


def token_texts(codec: Codec, tokens: Iterable[int], mask: int | None) -> dict[int, str]:
    """The text of each token as it appears within a text, with its leading space if it has one.

    The mask has an empty text. Newlines are kept and a tab becomes four spaces; other control characters, and
    byte-level tokens that are part of a character, become U+FFFD.

    Args:
        codec: Tokenizer that decodes the tokens.
        tokens: Token ids; repeated ids are decoded once.
        mask: Mask state of the graph; None if it has none.
    """
    return {token: "" if token == mask else _visible(_text(codec, token)) for token in set(tokens)}


def _kind(masked: bool, age: int, fixed: bool) -> str:
    if fixed:
        return "given"
    if masked:
        return "mask"
    return "prior" if age == NEVER else f"age{bisect_right(AGES, age) - 1}"


def _text(codec: Codec, token: int) -> str:
    """Text that a token adds after another: some decoders strip the space or the ## of the first token."""
    once, twice = codec.decode([token]), codec.decode([token, token])
    return twice.removeprefix(once) if twice.startswith(once) else once


def _visible(text: str) -> str:
    return printable(text.replace("\t", "    ")) or "\N{EMPTY SET}"
