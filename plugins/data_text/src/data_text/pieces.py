"""A long text, tokenized piece by piece to the tokens of the whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import numpy as np

from sedd_core import UserError
from sedd_core.data import Tokens
from sedd_core.text import Codec, tokens_after

CONTEXT = 1000
"""Characters on either side of a cut: tokens on one side must not depend on more of the other."""
TRIES = 50
"""Places for a cut that are tried in a piece before it becomes longer."""
BEFORE_BLANKS = re.compile(r".*\S(?=\s)", re.DOTALL)


def encoded_pieces(codec: Codec, text: str, size: int) -> Iterator[Tokens]:
    """The tokens of a text, piece by piece.

    Each piece is encoded with the text before it: alone, tokenizers of SentencePiece's kind would take it for the
    beginning of a text and put a space before it.

    Args:
        codec: The tokenizer.
        text: The text.
        size: Characters per piece, at most; more where no cut within them leaves the tokens as they are.

    Raises:
        UserError: The tokens depend on text far away.
    """
    start = 0
    while start < len(text):
        end = next(cut for cut in _cuts(text, start, size) if _leaves_tokens(codec, text, cut))
        ids = tokens_after(codec, text[max(start - CONTEXT, 0) : start], text[start:end])
        if ids is None:
            raise UserError(
                f"The tokens at character {start:,} depend on text more than {CONTEXT:,} characters away: such a "
                "tokenizer cannot be used for long texts."
            )
        yield np.asarray(ids, np.int64)
        start = end


def depends_on_context(codec: Codec) -> bool:
    """Whether the tokens of a piece are others where it is encoded alone."""
    try:
        return tokens_after(codec, "a", "\n") != codec.encode("\n")
    except UserError:  # characters of a closed alphabet, which has not these
        return False


def _leaves_tokens(codec: Codec, text: str, cut: int) -> bool:
    """Whether no token reaches over a cut."""
    return tokens_after(codec, text[max(cut - CONTEXT, 0) : cut], text[cut : cut + CONTEXT]) is not None


def _cuts(text: str, start: int, size: int) -> Iterator[int]:
    """Where a piece may end, best first: late, before blanks; where there are none, anywhere; the end at last."""
    while start + size < len(text):
        blanks = list(islice(_before_blanks(text, start, start + size), TRIES))
        yield from blanks or range(start + size, start, -1)[:TRIES]
        size *= 2
    yield len(text)


def _before_blanks(text: str, start: int, end: int) -> Iterator[int]:
    while found := BEFORE_BLANKS.match(text, start, end):
        end = found.end()
        yield end
