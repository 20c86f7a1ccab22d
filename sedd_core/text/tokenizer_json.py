"""Untrusted tokenizer.json files, checked before use so that none can run without bound.

A tokenizer applies chains of parts, each a pass over the text. Parts that insert more than they remove multiply each
other's work: thirty times "a" -> "aa" turn one letter into a gigabyte. Such chains are refused.
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
"""Maximum size of a file in bytes; the largest in use have 40 million."""
MOST_PARTS = 100
"""Maximum number of parts in a chain, nested parts included."""
MOST_GROWTH = 256
"""Maximum factor by which a chain may multiply the length of a text."""
LONGEST = 10_000
"""Maximum length of a token or any other string of the file, in characters."""
CHAINS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


@contextmanager
def panics_as_user_errors(what: str) -> Iterator[None]:
    """Context that turns errors of `tokenizers` into a UserError; also Rust's panics, which are not Exceptions.

    Args:
        what: Beginning of the message.
    """
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
    """Read a tokenizer.json.

    Args:
        path: Path of the file.

    Raises:
        UserError: The file cannot be read or is too large; or as for `parse_tokenizer`.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UserError(f"{path} is not a tokenizer.json: it has {size:,} bytes, more than {MOST_BYTES:,}.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a tokenizer.json: {error}.") from error
    return parse_tokenizer(text, str(path))


def parse_tokenizer(text: str, name: str) -> Tokenizer:
    """Parse the content of a tokenizer.json, padding and truncation included; `Codec` disables these.

    Args:
        text: Content of a tokenizer.json.
        name: Origin of the content, for messages.

    Raises:
        UserError: The content is damaged, or its work or output could grow without bound.
    """
    try:
        fault = _fault(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not a tokenizer.json: {error}.") from error
    if fault:
        raise UserError(f"{name} is not a usable tokenizer.json: {fault}.")
    with panics_as_user_errors(f"{name} is not a tokenizer.json"):
        tokenizer = Tokenizer.from_str(text)
    check_ids(tokenizer, name)
    return tokenizer


def check_ids(tokenizer: Tokenizer, name: str) -> None:
    """Check that token ids are 0 .. V - 1.

    Args:
        tokenizer: Tokenizer to check.
        name: Origin of the tokenizer, for messages.

    Raises:
        UserError: An id is missing or repeated.
    """
    ids = set(tokenizer.get_vocab(with_added_tokens=True).values())
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if not ids or ids != set(range(size)):
        raise UserError(
            f"{name} cannot be used as a tokenizer: it has {size:,} tokens with {len(ids):,} ids up to "
            f"{max(ids, default=-1):,}. Ids must number the tokens from 0 without gaps."
        )


def _fault(content: Any) -> str | None:
    """Why the content of a file is not a tokenizer with bounded work, or None."""
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
                f"its {name} has {len(parts):,} parts, which could make a text {growth:,.0f} times as long; the "
                f"limits are {MOST_PARTS} parts and {MOST_GROWTH} times"
            )
    return None


def _strings(value: Any) -> Iterator[str]:
    """Every string of the content, names included; charsmaps and merges, which are parts of tokens, excluded."""
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
    """A part of a chain and all parts nested in it."""
    if isinstance(value, dict):
        if "type" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _parts(inner)


def _growth(part: dict[str, Any]) -> float:
    """Factor by which a part can multiply the length of a text."""
    if part["type"] != "Replace":
        return 1.0
    content, pattern = part.get("content"), part.get("pattern")
    new = len(content) if isinstance(content, str) else 0
    fixed = pattern.get("String") if isinstance(pattern, dict) else None
    if isinstance(fixed, str) and fixed:
        return max(1.0, new / len(fixed))
    return 1.0 + new  # an empty match inserts it between all characters
