"""Piecewise tokenization of a long text, with the same tokens as the whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from sedd_core import UserError
from sedd_core.data import Tokens
from sedd_core.text import Codec, tokens_after

CONTEXT = 1000
"""Characters on either side of a cut on which the tokens of the other side may depend."""
TRIES = 50
"""Number of cuts to try in a piece before it becomes longer."""
BEFORE_BLANKS = re.compile(r".*\S(?=\s)", re.DOTALL)


def pieces_of(codec: Codec, text: str, size: int) -> Iterator[range]:
    """Cut a text where no token is cut.

    Args:
        codec: Tokenizer.
        text: Text to tokenize.
        size: Maximum characters per piece; exceeded only if every cut within them would change the tokens.

    Yields:
        Positions of a piece in the text.
    """
    start = 0
    while start < len(text):
        end = next(cut for cut in _cuts(text, start, size) if _leaves_tokens(codec, text, cut))
        yield range(start, end)
        start = end


def encoded_pieces(codec: Codec, text: str, pieces: Sequence[range]) -> Iterator[Tokens]:
    """Tokenize pieces of a text.

    Each piece is encoded together with the text before it: on its own, SentencePiece tokenizers would treat it as the
    beginning of a text and put a space before it.

    Args:
        codec: Tokenizer.
        text: Text that contains the pieces.
        pieces: Positions of the pieces, as from `pieces_of`.

    Yields:
        Token ids of a piece [n].

    Raises:
        UserError: The tokens depend on text more than `CONTEXT` characters away.
    """
    starts = [max(piece.start - CONTEXT, 0) for piece in pieces]
    before = codec.encode_batch([text[start : piece.start] for start, piece in zip(starts, pieces, strict=True)])
    whole = codec.encode_batch([text[start : piece.stop] for start, piece in zip(starts, pieces, strict=True)])
    for piece, first, both in zip(pieces, before, whole, strict=True):
        if both[: len(first)] != first:
            raise UserError(
                f"The tokens at character {piece.start:,} depend on text more than {CONTEXT:,} characters away. Such "
                "a tokenizer cannot be used for long texts."
            )
        yield np.asarray(both[len(first) :], np.int64)


def depends_on_context(codec: Codec) -> bool:
    """Whether a piece has other tokens when it is encoded alone.

    Args:
        codec: Tokenizer.
    """
    try:
        return tokens_after(codec, "a", "\n") != codec.encode("\n")
    except UserError:  # a closed alphabet may lack these characters
        return False


def _leaves_tokens(codec: Codec, text: str, cut: int) -> bool:
    """Whether no token spans a cut."""
    return tokens_after(codec, text[max(cut - CONTEXT, 0) : cut], text[cut : cut + CONTEXT]) is not None


def _cuts(text: str, start: int, size: int) -> Iterator[int]:
    """Candidate ends of a piece, best first: late and before white space, otherwise anywhere; finally the end."""
    while start + size < len(text):
        candidates = list(islice(_before_blanks(text, start, start + size), TRIES))
        yield from candidates or range(start + size, start, -1)[:TRIES]
        size *= 2
    yield len(text)


def _before_blanks(text: str, start: int, end: int) -> Iterator[int]:
    while found := BEFORE_BLANKS.match(text, start, end):
        end = found.end()
        yield end
