"""Sequences of tokens, and the cache of tokenized text."""
