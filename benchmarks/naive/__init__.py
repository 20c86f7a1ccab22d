"""SEDD as published, pass by pass, over dense [B, L, S] tensors: what the benchmarks compare with.

Only the transformer's trunk is shared with the framework. Written from the formulas, with the original's order of
passes and its dtypes; kept slow on purpose.

Source: Lou et al., Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution (arXiv 2310.16834).
"""

from .data import chunk_loader
from .graphs import NaiveAbsorb, NaiveGraph, NaiveUniform
from .network import NaiveModel
from .noise import geometric, loglinear
from .sampling import draw, step_weights
from .training import NaiveEMA, NaiveTrainer, loss_of_batch

__all__ = [
    "NaiveAbsorb",
    "NaiveEMA",
    "NaiveGraph",
    "NaiveModel",
    "NaiveTrainer",
    "NaiveUniform",
    "chunk_loader",
    "draw",
    "geometric",
    "loglinear",
    "loss_of_batch",
    "step_weights",
]
