"""Figures of a model: the likelihood bound, and character n-grams to compare it with."""

from .bound import Bound, Terms, estimate, merge, terms
from .integrand import masks_only
from .ngrams import ngram_bits_per_character
from .report import bound_figures, characters, report_bound, report_references

__all__ = [
    "Bound",
    "Terms",
    "bound_figures",
    "characters",
    "estimate",
    "masks_only",
    "merge",
    "ngram_bits_per_character",
    "report_bound",
    "report_references",
    "terms",
]
