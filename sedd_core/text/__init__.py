"""Conversion between text and tokens: text files, tokenizers, and the Hugging Face hub."""

from .builtin import bpe_codec, byte_codec, character_codec, id_codec
from .codec import Codec
from .exact_tokens import exact_tokens, tokens_after
from .files import MARK, ending, read_text, starts_with_mark
from .tokenizer import END, EndedCodec, read_ended_tokenizer, read_tokenizer, with_end_token

__all__ = [
    "END",
    "MARK",
    "Codec",
    "EndedCodec",
    "bpe_codec",
    "byte_codec",
    "character_codec",
    "ending",
    "exact_tokens",
    "id_codec",
    "read_ended_tokenizer",
    "read_text",
    "read_tokenizer",
    "starts_with_mark",
    "tokens_after",
    "with_end_token",
]
