"""Mathematics: addressed random draws, categorical sampling, numerically stable functions."""

from .categorical import categorical, row_chunks, sharpen
from .draws import Draws, permutation
from .numerics import LN2, expand_to, float64_device, log1mexp, log_expm1, row_scores, student_t, to_float64

__all__ = [
    "LN2",
    "Draws",
    "categorical",
    "expand_to",
    "float64_device",
    "log1mexp",
    "log_expm1",
    "permutation",
    "row_chunks",
    "row_scores",
    "sharpen",
    "student_t",
    "to_float64",
]
