"""Figures of a model: the likelihood bound, and character n-grams to compare it with."""

from .bound import Estimation, Piece, estimate, terms
from .estimators import ESTIMATORS, TERMS, Method, check_name
from .integrand import masks_only
from .ngrams import ngram_bits_per_character
from .protocol import Protocol, Published, protocol_names, read_protocol
from .protocol_report import report_protocol
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
    "Protocol",
    "Published",
    "Terms",
    "bound_figures",
    "check_name",
    "estimate",
    "masks_only",
    "merge",
    "ngram_bits_per_character",
    "protocol_names",
    "read_protocol",
    "report_bound",
    "report_protocol",
    "report_references",
    "terms",
    "text_sizes",
]
