r"""Prompts: texts with blanks, and the known tokens that they stand for.

A prompt is text in which `[[*]]` is an open blank and `[[16]]` a blank of 16 tokens. Three escapes hold in every
prompt, from a file or not: `\n` is a newline, `\[[` two brackets, `\\` a backslash; any other backslash is itself.

Each text between blanks is encoded on its own, and stands in the sample exactly as written, or is refused: tokenizers
of BERT's kind have no tokens for capitals or spaces. Most pieces begin with their space (" and"): with
`my name is[[*]] and` the model says the space before the name, `my name is [[*]] and` gives it as a token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import UserError
from ..stages.sampler import FixedTokens
from ..text.codec import Codec
from ..text.exact_tokens import exact_tokens, text_of

_MARK = re.compile(r"\\\\|\\n|\\\[\[|\[\[(?!\[)(?P<blank>.*?)(?:\]\]|\Z)", re.DOTALL)
_ESCAPES = {r"\\": "\\", r"\n": "\n", r"\[[": "[["}


@dataclass(frozen=True)
class Blank:
    """Tokens to be sampled: so many, or what is left of the length when None."""

    tokens: int | None


@dataclass(frozen=True)
class Prompt:
    """Texts and blanks in order.

    name: what messages call it, "prompts.txt, line 3,". text: as `parse_prompt` reads it.
    """

    pieces: tuple[str | Blank, ...]
    name: str
    text: str


def parse_prompt(text: str, name: str = "The prompt") -> Prompt:
    """The pieces of a prompt. UserError for brackets that are no blank."""
    pieces: list[str | Blank] = []
    written, end = "", 0
    for mark in _MARK.finditer(text):
        written += text[end : mark.start()]
        end = mark.end()
        if mark["blank"] is None:
            written += _ESCAPES[mark[0]]
        else:
            pieces += [written, _blank(mark, name)]
            written = ""
    pieces.append(written + text[end:])
    return Prompt(tuple(piece for piece in pieces if piece != ""), name, text)


def prefix_suffix_prompt(prefix: str = "", suffix: str = "") -> Prompt:
    """The prompt with a prefix and a suffix at the two ends of the length, both exactly as written: no escapes."""
    pieces = (prefix, Blank(None), suffix)
    name = "The prefix with the suffix" if prefix and suffix else "The prefix" if prefix else "The suffix"
    text = f"{_escaped(prefix)}[[*]]{_escaped(suffix)}"
    return Prompt(tuple(piece for piece in pieces if piece != ""), name, text)


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a UTF-8 file, one a line; blank lines are skipped. UserError when it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"The prompts in {path} are not UTF-8 (byte {error.start}). Save the file as UTF-8."
        ) from error
    except (OSError, ValueError) as error:  # a ValueError for a NUL in the path
        raise UserError(f"The prompts in {path} cannot be read: {getattr(error, 'strerror', error)}.") from error
    prompts = [parse_prompt(line, f"{path}, line {i},") for i, line in enumerate(lines, start=1) if line.strip()]
    if not prompts:
        raise UserError(f"{path} holds no prompt: write one a line.")
    return prompts


def tokenize_prompt(prompt: Prompt, codec: Codec, length: int) -> FixedTokens:
    """The known tokens [1, length] of a prompt.

    Open blanks share what texts and fixed blanks leave, as evenly as possible: where it cannot be divided, the first
    ones get one token more. A prompt without an open blank stands at the start, and what is left of the length is
    free after it: so a text alone is a prefix. (A suffix is written `[[*]] and so it ends.`)

    UserError when it does not fit into the length, an open blank would get no token, or the codec cannot keep a text.
    """
    pieces = [
        _encode(piece, codec, prompt.name, begins=index == 0) if isinstance(piece, str) else piece
        for index, piece in enumerate(prompt.pieces)
    ]
    shares = iter(_open_blanks(pieces, length, prompt.name))
    known: dict[int, int] = {}
    position = 0
    for piece in pieces:
        if isinstance(piece, Blank):
            position += piece.tokens or next(shares)
        else:
            known.update(enumerate(piece, start=position))
            position += len(piece)
    return fixed_tokens(known, length)


def tokenize_prompts(prompts: Sequence[Prompt], codec: Codec, length: int, per_prompt: int) -> FixedTokens:
    """The known tokens [prompts * per_prompt, length] of samples: those of the first prompt, of the second, ..."""
    each = [tokenize_prompt(prompt, codec, length) for prompt in prompts]
    tokens, where = (torch.cat(parts).repeat_interleave(per_prompt, 0) for parts in zip(*each, strict=True))
    return FixedTokens(tokens, where)


def tokenize_prompts_with_lengths(
    prompts: Sequence[Prompt], codec: Codec, lengths: Sequence[int], length: int, per_prompt: int, end: int
) -> FixedTokens:
    """The known tokens [prompts * per_prompt, length] of samples whose documents have these lengths, in turn.

    Args:
        prompts: As for `tokenize_prompts`, each laid out in the length of its sample; none: `per_prompt` samples.
        codec: Of the prompts' texts.
        lengths: Tokens of documents before their end-of-text token, each at most `length`.
        length: L, tokens of a sample.
        per_prompt: Samples of each prompt.
        end: The end-of-text token, which stands at all positions after a document.
    """
    each = [prompt for prompt in prompts or [Prompt((), "", "")] for _ in range(per_prompt)]
    tokens, where = torch.full((len(each), length), end), torch.ones(len(each), length, dtype=torch.bool)
    for index, prompt in enumerate(each):
        own = lengths[index % len(lengths)]
        known = tokenize_prompt(prompt, codec, own)
        tokens[index, :own], where[index, :own] = known.tokens[0], known.positions[0]
    return FixedTokens(tokens, where)


def fixed_tokens(tokens: Mapping[int, int], length: int) -> FixedTokens:
    """Token ids known at any positions, from 0 on, as a Given [1, length]. UserError for a position outside."""
    outside = [position for position in tokens if not 0 <= position < length]
    if outside:
        raise UserError(f"A token is given at position {outside[0]}, but positions run from 0 to {length - 1}.")
    values, where = torch.zeros(1, length, dtype=torch.int64), torch.zeros(1, length, dtype=torch.bool)
    positions = list(tokens)
    values[0, positions] = torch.tensor(list(tokens.values()), dtype=torch.int64)
    where[0, positions] = True
    return FixedTokens(values, where)


def _escaped(text: str) -> str:
    """The text as `parse_prompt` reads it back."""
    for escape, character in _ESCAPES.items():  # backslashes first
        text = text.replace(character, escape)
    return text


def _blank(mark: re.Match[str], name: str) -> Blank:
    if mark[0] == "[[*]]":
        return Blank(None)
    if re.fullmatch(r"\[\[[1-9][0-9]{0,8}\]\]", mark[0]):
        return Blank(int(mark["blank"]))
    raise UserError(
        f"{name} has {mark[0][:30]!r}, which is no blank: write [[*]] for what is left of the length, [[16]] for 16 "
        r"tokens, or \[[ for the brackets themselves."
    )


def _open_blanks(pieces: Sequence[list[int] | Blank], length: int, name: str) -> list[int]:
    """How many tokens each open blank gets."""
    texts = sum(len(piece) for piece in pieces if not isinstance(piece, Blank))
    blanks = [piece.tokens for piece in pieces if isinstance(piece, Blank)]
    count, taken = blanks.count(None), texts + sum(size or 0 for size in blanks)
    if taken + count > length:
        for_open = f" and at least 1 for each open blank, of which it has {count}" if count else ""
        raise UserError(
            f"{name} needs {taken + count} tokens ({texts} of text, {taken - texts} of fixed blanks{for_open}), "
            f"but a sample has {length}. Shorten it, or raise the length."
        )
    if count == 0:
        return []
    share, extra = divmod(length - taken, count)
    return [share + (i < extra) for i in range(count)]


def _encode(text: str, codec: Codec, name: str, begins: bool) -> list[int]:
    """Token ids of a piece of text, which decode to it. UserError where the codec has none that do."""
    try:
        text.encode()
    except UnicodeEncodeError as error:  # a command line in another encoding
        raise UserError(f"{name} is not UTF-8 at character {error.start} of {text!r}.") from error
    unknown = codec.unknown(text)
    if unknown is not None:
        raise UserError(
            f"{name} has {unknown!r}, which none of the model's {codec.vocab_size} tokens stands for. "
            "Replace or remove it."
        )
    ids = exact_tokens(codec, text, begins)
    if ids is None:
        raise UserError(
            f"{name} has {text!r}, which the model's tokenizer cannot keep as written: it would stand in the sample "
            f"as {text_of(codec, codec.encode(text), begins)!r}. Write it so, spaces included."
        )
    return ids
