r"""Prompts: text with blanks, converted to fixed tokens.

A prompt is text in which `[[*]]` is an open blank and `[[16]]` a blank of 16 tokens. Every prompt has
three escapes: `\n` is a newline, `\[[` two brackets, `\\` a backslash; any other backslash is literal.

Each piece of text is encoded separately and appears in the sample exactly as written, or is refused: BERT-like
tokenizers have no tokens for capitals or spaces. Most tokens begin with their space (" and"): with
`my name is[[*]] and` the model generates the space before the name, `my name is [[*]] and` fixes it as a token.
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
    """Tokens to be sampled."""

    tokens: int | None
    """Number of tokens; None: open, a share of the remaining length."""


@dataclass(frozen=True)
class Prompt:
    """A parsed prompt."""

    pieces: tuple[str | Blank, ...]
    """Texts and blanks in order."""
    name: str
    """Name of the prompt in messages, such as "prompts.txt, line 3,"."""
    text: str
    """Source text, as read by `parse_prompt`."""


def parse_prompt(text: str, name: str = "The prompt") -> Prompt:
    """Parse a prompt.

    Args:
        text: Source text of the prompt.
        name: Name of the prompt in messages.

    Raises:
        UserError: The text contains brackets that are not a blank.
    """
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
    """The prompt with a prefix at the start and a suffix at the end of a sample, both literal (without escapes)."""
    pieces = (prefix, Blank(None), suffix)
    name = "The prefix with the suffix" if prefix and suffix else "The prefix" if prefix else "The suffix"
    text = f"{_escaped(prefix)}[[*]]{_escaped(suffix)}"
    return Prompt(tuple(piece for piece in pieces if piece != ""), name, text)


def read_prompts(path: Path) -> list[Prompt]:
    """Read the prompts of a UTF-8 file, one per line; blank lines are skipped.

    Raises:
        UserError: The file cannot be read, is not UTF-8, or contains no prompt or an invalid one.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"The prompts in {path} are not UTF-8 (byte {error.start}). Save the file as UTF-8.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UserError(f"The prompts in {path} cannot be read: {getattr(error, 'strerror', error)}.") from error
    prompts = [parse_prompt(line, f"{path}, line {i},") for i, line in enumerate(lines, start=1) if line.strip()]
    if not prompts:
        raise UserError(f"{path} contains no prompts: write one prompt per line.")
    return prompts


def tokenize_prompt(prompt: Prompt, codec: Codec, length: int) -> FixedTokens:
    """The fixed tokens [1, length] of a prompt.

    Open blanks share the length that texts and fixed blanks leave, as evenly as possible, the first ones getting one
    token more. A prompt without an open blank is placed at the start of the sample, so plain text is a prefix. (A
    suffix is written `[[*]] and so it ends.`)

    Args:
        prompt: The prompt.
        codec: Codec that encodes its texts.
        length: Tokens per sample.

    Raises:
        UserError: The prompt does not fit into the length, with at least one token per open blank, or the codec
            cannot represent a text exactly.
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
    """The fixed tokens [prompts * per_prompt, length] of samples: all of the first prompt, then of the second, ..."""
    each = [tokenize_prompt(prompt, codec, length) for prompt in prompts]
    tokens, positions = (torch.cat(parts).repeat_interleave(per_prompt, 0) for parts in zip(*each, strict=True))
    return FixedTokens(tokens, positions)


def tokenize_prompts_with_lengths(
    prompts: Sequence[Prompt], codec: Codec, lengths: Sequence[int], length: int, per_prompt: int, end: int
) -> FixedTokens:
    """The fixed tokens [prompts * per_prompt, length] of samples with given document lengths, cycled over samples.

    Args:
        prompts: Prompts, each placed within the document length of its sample; empty: `per_prompt` free samples.
        codec: Codec that encodes their texts.
        lengths: Document lengths in tokens, without the end-of-text token; each at most `length`.
        length: Tokens per sample.
        per_prompt: Samples per prompt.
        end: The end-of-text token, which fills all positions after a document.
    """
    each = [prompt for prompt in prompts or [Prompt((), "", "")] for _ in range(per_prompt)]
    tokens, positions = torch.full((len(each), length), end), torch.ones(len(each), length, dtype=torch.bool)
    for index, prompt in enumerate(each):
        size = lengths[index % len(lengths)]
        known = tokenize_prompt(prompt, codec, size)
        tokens[index, :size], positions[index, :size] = known.tokens[0], known.positions[0]
    return FixedTokens(tokens, positions)


def fixed_tokens(tokens: Mapping[int, int], length: int) -> FixedTokens:
    """The fixed tokens [1, length] of a map from positions, counted from 0, to token ids.

    Raises:
        UserError: A position is outside of the length.
    """
    outside = [position for position in tokens if not 0 <= position < length]
    if outside:
        raise UserError(f"A token is fixed at position {outside[0]}, but positions run from 0 to {length - 1}.")
    values, selected = torch.zeros(1, length, dtype=torch.int64), torch.zeros(1, length, dtype=torch.bool)
    positions = list(tokens)
    values[0, positions] = torch.tensor(list(tokens.values()), dtype=torch.int64)
    selected[0, positions] = True
    return FixedTokens(values, selected)


def _escaped(text: str) -> str:
    """The text with escapes, so that `parse_prompt` restores it."""
    for escape, character in _ESCAPES.items():  # backslashes first
        text = text.replace(character, escape)
    return text


def _blank(mark: re.Match[str], name: str) -> Blank:
    if mark[0] == "[[*]]":
        return Blank(None)
    if re.fullmatch(r"\[\[[1-9][0-9]{0,8}\]\]", mark[0]):
        return Blank(int(mark["blank"]))
    raise UserError(
        f"{name} contains {mark[0][:30]!r}, which is not a blank: write [[*]] for the remaining length, [[16]] for "
        r"16 tokens, or \[[ for literal brackets."
    )


def _open_blanks(pieces: Sequence[list[int] | Blank], length: int, name: str) -> list[int]:
    """Number of tokens of each open blank."""
    texts = sum(len(piece) for piece in pieces if not isinstance(piece, Blank))
    blanks = [piece.tokens for piece in pieces if isinstance(piece, Blank)]
    count, taken = blanks.count(None), texts + sum(size or 0 for size in blanks)
    if taken + count > length:
        for_open = f" and at least 1 for each open blank, of which it has {count}" if count else ""
        raise UserError(
            f"{name} needs {taken + count} tokens ({texts} of text, {taken - texts} of fixed blanks{for_open}), "
            f"but a sample has {length}. Shorten the prompt or increase the length."
        )
    if count == 0:
        return []
    share, extra = divmod(length - taken, count)
    return [share + (i < extra) for i in range(count)]


def _encode(text: str, codec: Codec, name: str, begins: bool) -> list[int]:
    """Token ids that decode to exactly `text`; a UserError if there are none."""
    try:
        text.encode()
    except UnicodeEncodeError as error:  # the command line uses another encoding
        raise UserError(f"{name} is not UTF-8 at character {error.start} of {text!r}.") from error
    unknown = codec.unknown(text)
    if unknown is not None:
        raise UserError(
            f"{name} contains {unknown!r}, which none of the model's {codec.vocab_size} tokens represents. "
            "Replace or remove it."
        )
    ids = exact_tokens(codec, text, begins)
    if ids is None:
        raise UserError(
            f"{name} contains {text!r}, which the model's tokenizer cannot represent exactly: it would appear in the "
            f"sample as {text_of(codec, codec.encode(text), begins)!r}. Write that instead, including its spaces."
        )
    return ids
