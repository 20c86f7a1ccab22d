"""What a position looks like at a frame, the same on the terminal, the page and the picture.

A position is of one kind: `given`, `mask`, `prior` (a token that has not changed since the prior), or an age, from
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

AGES = (0, 1, 2, 4, 8, 16)  # frames from which on `age0`, `age1`, ... hold
MASK = "\N{LIGHT SHADE}"  # where only characters can be shown
NEVER = -1  # the age of what has not changed since the first frame


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
    """Ages one frame later: 0 where the state has changed, one more where it had before, else NEVER."""
    older = torch.where(ages == NEVER, ages, ages + 1)
    return older.masked_fill(before != after, 0)


def kinds(
    state: Int32[Tensor, " L"], ages: Int32[Tensor, " L"], given: Bool[Tensor, " L"], mask: int | None
) -> list[str]:
    """The kind of every position."""
    rows = zip(state.tolist(), ages.tolist(), given.tolist(), strict=True)
    return [_kind(token == mask, age, known) for token, age, known in rows]


def token_texts(codec: Codec, tokens: Iterable[int], mask: int | None) -> dict[int, str]:
    """The text of each token by itself, as it stands within a text: with its space, where it begins with one.

    The mask has none. Newlines stay, a tab becomes four spaces; other control characters, and a token that holds a
    part of a character, as byte-level ones may, become U+FFFD.
    """
    return {token: "" if token == mask else _visible(_text(codec, token)) for token in set(tokens)}


def _kind(masked: bool, age: int, known: bool) -> str:
    if known:
        return "given"
    if masked:
        return "mask"
    return "prior" if age == NEVER else f"age{bisect_right(AGES, age) - 1}"


def _text(codec: Codec, token: int) -> str:
    """What the token adds to a text: some decoders strip the space or the ## of a text's first token."""
    once, twice = codec.decode([token]), codec.decode([token, token])
    return twice.removeprefix(once) if twice.startswith(once) else once


def _visible(text: str) -> str:
    return printable(text.replace("\t", "    ")) or "\N{EMPTY SET}"
