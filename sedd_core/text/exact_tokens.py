"""Tokens of text that follows other text.

Many tokenizers put a marker before their input: SentencePiece tokenizers take "and" for the beginning of a word and
write a space before it. BERT tokenizers drop spaces, capitals and accents. So the tokens of a piece of text are
checked by decoding them at their position.
"""

from __future__ import annotations

from contextlib import suppress

from ..errors import UserError
from .codec import Codec

CONTEXTS = (".", ",", "a", "0", ")", ":", "e", "-", '"', "\n", "A", "x", ";", "!", "?", "(", "1", "é", "中")
"""Texts to put before a piece of text, tried in order until no token spans the boundary."""


def tokens_after(codec: Codec, before: str, text: str) -> list[int] | None:
    """Token ids of text that directly follows other text.

    Args:
        codec: Tokenizer.
        before: Preceding text, or the last part of it; "" at the beginning.
        text: Text to tokenize.

    Returns:
        Token ids of `text`; None if a token spans the boundary.
    """
    first, both = codec.encode(before), codec.encode(before + text)
    return both[len(first) :] if both[: len(first)] == first else None


def exact_tokens(codec: Codec, text: str, begins: bool) -> list[int] | None:
    """Token ids that decode to exactly this text at their position in a sequence.

    Args:
        codec: Tokenizer.
        text: Text to tokenize.
        begins: Whether the text starts the sequence; otherwise any tokens may precede it.

    Returns:
        Token ids; None if the tokenizer has none for exactly this text.
    """
    alone = codec.encode(text)
    if text_of(codec, alone, begins) == text:
        return alone
    if not begins:
        for context in CONTEXTS:
            with suppress(UserError):  # the tokenizer has no token for this context
                ids = tokens_after(codec, context, text)
                if ids is not None and text_of(codec, ids, begins) == text:
                    return ids
    return None


def text_of(codec: Codec, ids: list[int], begins: bool) -> str:
    """Decode token ids at the start of a sequence, or after other tokens.

    Args:
        codec: Tokenizer.
        ids: Token ids.
        begins: Whether the ids start the sequence.
    """
    once = codec.decode(ids)
    return once if begins else codec.decode([*ids, *ids]).removeprefix(once)
