"""Tokenizers with an end-of-text token."""

from __future__ import annotations

from collections.abc import Iterable

from sedd_core.text import END, Codec, EndedCodec, byte_codec, character_codec, read_ended_tokenizer, with_end_token


def read_vocabulary(name: str, end_token: str | None) -> EndedCodec:
    """Read a tokenizer by name.

    Args:
        name: "byte", or a path or hub id as for `read_ended_tokenizer`.
        end_token: End-of-text token; None: the one that the tokenizer's files name, or a customary one.

    Raises:
        UserError: The tokenizer is not available, or has no such token.
    """
    if name == "byte":
        return with_end_token(_with_end(byte_codec()), end_token, "The tokenizer of bytes")
    return read_ended_tokenizer(name, end_token)


def characters_of(texts: Iterable[str], unknown: bool) -> Codec:
    """A codec with one token per character, and an end-of-text token.

    Args:
        texts: Texts whose characters form the alphabet.
        unknown: Whether to add a token for all other characters.
    """
    seen: set[str] = set()
    for text in texts:
        seen.update(text)
    return _with_end(character_codec("".join(seen), unknown))


def ended_characters(codec: Codec, end_token: str | None) -> EndedCodec:
    """Find the end-of-text token of a codec from `characters_of`.

    Args:
        codec: Codec from `characters_of`.
        end_token: End-of-text token; None: the default.

    Raises:
        UserError: The codec has no such token.
    """
    return with_end_token(codec, end_token, "The tokenizer of characters")


def _with_end(codec: Codec) -> Codec:
    codec.tokenizer.add_special_tokens([END])
    return Codec(codec.tokenizer)
