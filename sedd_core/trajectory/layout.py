"""Layout of tokens on lines of fixed-width characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len

NEWLINE = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"


class Box(NamedTuple):
    """A piece of text without leading spaces; column in characters from the left, line from the top."""

    column: int
    line: int
    text: str


def layout(texts: Sequence[str], columns: int) -> list[list[Box]]:
    """Lay out tokens on lines.

    Lines break between words that fit on a line, otherwise between tokens; the space at a break has no width. A
    newline in a text is shown as a sign and breaks the line.

    Args:
        texts: Text of each token, in order.
        columns: Characters per line.

    Returns:
        The boxes of each token, one per line of its text.
    """
    boxes_by_token: list[list[Box]] = []
    column = line = 0
    for word in _words(texts):
        if column > 0 and column + cell_len("".join(word).partition("\n")[0]) > columns:
            column, line = 0, line + 1
            word = [word[0].lstrip(" "), *word[1:]]
        for text in word:
            boxes: list[Box] = []
            for i, part in enumerate(text.replace("\n", f"{NEWLINE}\n").split("\n")):
                if i > 0 or (column > 0 and column + cell_len(part.rstrip(NEWLINE)) > columns):
                    column, line = 0, line + 1
                bare = part.lstrip(" ")
                boxes.append(Box(column + len(part) - len(bare), line, bare))
                column += cell_len(part)
            boxes_by_token.append(boxes)
    return boxes_by_token


def _words(texts: Sequence[str]) -> Iterator[list[str]]:
    """Groups of tokens that form a word: a word begins with white space or after it."""
    word: list[str] = []
    for text in texts:
        if word and (text[:1].isspace() or word[-1][-1:].isspace()):
            yield word
            word = []
        word.append(text)
    if word:
        yield word
