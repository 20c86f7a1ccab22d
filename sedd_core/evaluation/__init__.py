"""Figures of a model: the likelihood bound, and character n-grams to compare it with."""

from .bound import Estimation, Piece, estimate, terms
from .estimators import ESTIMATORS, TERMS, Method, check_name
from .integrand import masks_only
from .ngrams import ngram_bits_per_character
from .report import DEFAULT_UNITS, UNITS, bound_figures, report_bound, report_references, text_sizes
from .result import Bound, Terms, merge

__all__ = [
    "DEFAULT_UNITS",
    "ESTIMATORS",
    "TERMS",
    "UNITS",
    "Bound",
    "Estimation",
    "Method",
    "Piece",
    "Terms",
    "bound_figures",
    "check_name",
    "estimate",
    "masks_only",
    "merge",
    "ngram_bits_per_character",
    "report_bound",
    "report_references",
    "terms",
    "text_sizes",
]
