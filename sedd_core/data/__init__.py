"""Concrete data: token sequences, and the cache of tokenized text."""

from .cache import Corpus, Tokenized, Tokens, cached_corpus, content_hash, corpus_key
from .packed import PackedData, Packing
from .sequences import DocumentSequences, LongDocuments, PackedSequences, Padding, title_of

__all__ = [
    "Corpus",
    "DocumentSequences",
    "LongDocuments",
    "PackedData",
    "PackedSequences",
    "Packing",
    "Padding",
    "Tokenized",
    "Tokens",
    "cached_corpus",
    "content_hash",
    "corpus_key",
    "title_of",
]
