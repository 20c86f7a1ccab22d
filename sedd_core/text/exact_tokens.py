"""Tokens of a text that follows other text: many tokenizers put a marker before all that they are given.

SentencePiece's kind takes "and" for the beginning of a word and writes a space before it; BERT's kind has no spaces,
no capitals and no accents. So tokens of a piece of text are checked by what they decode to at their place.
"""

from __future__ import annotations

from contextlib import suppress

from ..errors import UserError
from .codec import Codec

CONTEXTS = (".", ",", "a", "0", ")", ":", "e", "-", '"', "\n", "A", "x", ";", "!", "?", "(", "1", "é", "中")
"""What a piece of text may follow, until its tokens do not reach into it."""


def tokens_after(codec: Codec, before: str, text: str) -> list[int] | None:
    """Token ids of a text right after another one; None where a token reaches over both.

    Args:
        codec: The tokenizer.
        before: The text before, or the last part of it; "" at the beginning.
        text: The text.
    """
    first, both = codec.encode(before), codec.encode(before + text)
    return both[len(first) :] if both[: len(first)] == first else None


def exact_tokens(codec: Codec, text: str, begins: bool) -> list[int] | None:
    """Token ids that decode to exactly this text at their place in a sequence; None where the tokenizer has none.

    Args:
        codec: The tokenizer.
        text: The text.
        begins: Whether it stands at the start of the sequence; elsewhere any tokens may stand before it.
    """
    alone = codec.encode(text)
    if text_of(codec, alone, begins) == text:
        return alone
    if not begins:
        for context in CONTEXTS:
            with suppress(UserError):  # of a context that the tokenizer does not know
                ids = tokens_after(codec, context, text)
                if ids is not None and text_of(codec, ids, begins) == text:
                    return ids
    return None


def text_of(codec: Codec, ids: list[int], begins: bool) -> str:
    """What token ids decode to at the start of a sequence, or after others."""
    once = codec.decode(ids)
    return once if begins else codec.decode([*ids, *ids]).removeprefix(once)
