"""Tokenizers of documents: each has a token that ends one."""

from __future__ import annotations

from collections.abc import Iterable

from sedd_core.text import END, Codec, EndedCodec, byte_codec, character_codec, read_ended_tokenizer, with_end_token


def load(name: str, end_token: str | None) -> EndedCodec:
    """A tokenizer by its name. UserError when it cannot be had, or has no token to end a document with."""
    if name == "byte":
        return with_end_token(_with_end(byte_codec()), end_token, "The tokenizer of bytes")
    return read_ended_tokenizer(name, end_token)


def characters_of(texts: Iterable[str], unknown: bool) -> Codec:
    """A token for each character of the texts, one for any other if `unknown`, and one that ends a document."""
    seen: set[str] = set()
    for text in texts:
        seen.update(text)
    return _with_end(character_codec("".join(seen), unknown))


def ended_characters(codec: Codec, end_token: str | None) -> EndedCodec:
    """Of a codec that `characters_of` made. UserError where it has no such token."""
    return with_end_token(codec, end_token, "The tokenizer of characters")


def _with_end(codec: Codec) -> Codec:
    codec.tokenizer.add_special_tokens([END])
    return Codec(codec.tokenizer)
