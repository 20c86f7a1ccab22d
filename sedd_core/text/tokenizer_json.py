"""A tokenizer.json from anywhere, read as data: checked before it is used, so that none can run for ever.

What a tokenizer does to a text is a chain of parts, each a pass over it. Parts that put in more than they take out
multiply each other's work: thirty times "a" -> "aa" make a gigabyte of a letter. Such chains are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..errors import UserError

MOST_BYTES = 2**27
"""Of a file; the largest in use have 40 million."""
MOST_PARTS = 100
"""Parts of a chain, nested ones too."""
MOST_GROWTH = 256
"""By how much a chain may multiply a text's length."""
LONGEST = 10_000
"""Characters of a token, or of another string of the file."""
CHAINS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


@contextmanager
def panics_as_user_errors(what: str) -> Iterator[None]:
    """Within: tokenizers' errors are a UserError that begins with `what`; so are Rust's panics, no Exceptions."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # tokenizers raises nothing narrower
        raise UserError(f"{what}: {error}.") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # its module cannot be imported
            raise
        raise UserError(f"{what}: {error}.") from None


def read_tokenizer_file(path: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json. UserError when it cannot be read, and as `parse_tokenizer`."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UserError(f"{path} is no tokenizer.json: it has {size:,} bytes, more than {MOST_BYTES:,}.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no tokenizer.json: {error}.") from error
    return parse_tokenizer(text, str(path))


def parse_tokenizer(text: str, name: str) -> Tokenizer:
    """The tokenizer that JSON describes, its padding and truncation too; `Codec` switches these off.

    Args:
        text: The content of a tokenizer.json.
        name: Where it is from, for messages.

    Raises:
        UserError: It is damaged, or describes a tokenizer whose work or output has no bound.
    """
    try:
        fault = _fault(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is no tokenizer.json: {error}.") from error
    if fault:
        raise UserError(f"{name} is no tokenizer.json that can be used: {fault}.")
    with panics_as_user_errors(f"{name} is no tokenizer.json"):
        tokenizer = Tokenizer.from_str(text)
    check_ids(tokenizer, name)
    return tokenizer


def check_ids(tokenizer: Tokenizer, name: str) -> None:
    """UserError where token ids are not 0 .. V - 1. name: where the tokenizer is from, for messages."""
    ids = set(tokenizer.get_vocab(with_added_tokens=True).values())
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if not ids or ids != set(range(size)):
        raise UserError(
            f"{name} cannot be used as a tokenizer: it has {size:,} tokens with {len(ids):,} ids up to "
            f"{max(ids, default=-1):,}. Ids must count the tokens from 0 on."
        )


def _fault(content: Any) -> str | None:
    """What keeps a file's content from being that of a tokenizer whose work is bounded, or None."""
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        return "it has no 'model'"
    long = next((string for string in _strings(content) if len(string) > LONGEST), None)
    if long is not None:
        return f"it has a string of {len(long):,} characters ({long[:20]!r}...), more than {LONGEST:,}"
    for name in CHAINS:
        parts = list(_parts(content.get(name)))
        growth = 1.0
        for part in parts:
            growth = min(growth * _growth(part), 1e9)
        if len(parts) > MOST_PARTS or growth > MOST_GROWTH:
            return (
                f"its {name} has {len(parts):,} parts, which could make a text {growth:,.0f} times as long; at most "
                f"{MOST_PARTS} parts and {MOST_GROWTH} times are read"
            )
    return None


def _strings(value: Any) -> Iterator[str]:
    """Every string of the content, names too; charsmaps and merges, which are parts of tokens, left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for name, inner in value.items():
            if name not in ("precompiled_charsmap", "merges"):
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """A part of a chain and all those within it."""
    if isinstance(value, dict):
        if "type" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _parts(inner)


def _growth(part: dict[str, Any]) -> float:
    """By how much a part can multiply the length of a text."""
    if part["type"] != "Replace":
        return 1.0
    content, pattern = part.get("content"), part.get("pattern")
    new = len(content) if isinstance(content, str) else 0
    fixed = pattern.get("String") if isinstance(pattern, dict) else None
    if isinstance(fixed, str) and fixed:
        return max(1.0, new / len(fixed))
    return 1.0 + new  # a pattern that matches nothing puts it between all characters
