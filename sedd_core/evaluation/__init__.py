"""Figures of a model: the likelihood bound, and character n-grams to compare it with."""

from .bound import Bound, Terms, estimate, merge, terms
from .ngrams import ngram_bits_per_character

__all__ = [
    "Bound",
    "Terms",
    "estimate",
    "merge",
    "ngram_bits_per_character",
    "terms",
]
