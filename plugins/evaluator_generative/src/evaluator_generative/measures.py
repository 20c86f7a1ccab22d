"""Measures of samples: perplexity in three published definitions, entropy, diversity, repetition, and their errors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from sedd_core.maths import Draws

from .judge import Scores

RESAMPLES = 1000
"""Bootstrap resamples of each figure."""


def mean_of_sequences(scores: Sequence[Scores]) -> Float64[Tensor, "n 2"]:
    """SEDD, RADD: each sequence's exp(mean negative log-likelihood), to be averaged over sequences.

    Source: louaaron/Score-Entropy-Discrete-Diffusion, run_train.py: the mean of exp(loss).
    """
    rows = [(one.nats.mean().exp().item(), 1.0) for one in scores if len(one.nats)]
    return torch.tensor(rows, dtype=torch.float64)


def pooled_to_first_end(scores: Sequence[Scores]) -> Float64[Tensor, "n 2"]:
    """MDLM, Duo: sums of nats and numbers of tokens, of tokens that are no end-of-text, and the first one that is.

    Source: kuleshov-group/mdlm, the first end-of-text token and all other tokens count.
    """
    rows = []
    for one in scores:
        counted = ~one.ends | (one.ends.cumsum(0) == 1)
        rows.append((one.nats[counted].sum().item(), float(counted.sum())))
    return torch.tensor(rows, dtype=torch.float64)


def pooled(scores: Sequence[Scores]) -> Float64[Tensor, "n 2"]:
    """GIDD: sums of nats and numbers of tokens, of all tokens."""
    return torch.tensor([(one.nats.sum().item(), float(len(one.nats))) for one in scores], dtype=torch.float64)


DEFINITIONS: dict[str, tuple[Callable[[Sequence[Scores]], Tensor], bool, str]] = {
    "sedd": (mean_of_sequences, False, "mean over sequences of exp(mean nats), as SEDD and RADD"),
    "mdlm": (pooled_to_first_end, True, "exp of nats pooled over tokens up to end-of-text, as MDLM and Duo"),
    "gidd": (pooled, True, "exp of nats pooled over all tokens, as GIDD"),
}
"""Definitions by name: the statistics of each sequence, whether their ratio is an exponent, and the words for it."""


def ratio(rows: Float64[Tensor, "n 2"], *, exponent: bool) -> float:
    """Sum of the first column over sum of the second, or exp of it."""
    value = (rows[:, 0].sum() / rows[:, 1].sum()).item()
    return math.exp(min(value, 700.0)) if exponent else value


def bootstrap(
    rows: Float64[Tensor, "n k"], statistic: Callable[[Float64[Tensor, "n k"]], float], seed: int
) -> tuple[float, float, float]:
    """Standard error and the ends of the 95 % interval of a statistic, by resampling sequences.

    The interval is moved by the bias of the resamples, which have sequences twice: distinct n-grams are fewer in them.

    Args:
        rows: Statistics of each sequence.
        statistic: The figure of a set of sequences.
        seed: Random seed.
    """
    uniform = Draws(seed, torch.arange(RESAMPLES)).uniform("bootstrap", len(rows))
    values = torch.tensor([statistic(rows[chosen]) for chosen in (uniform * len(rows)).long()], dtype=torch.float64)
    ends = values.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)) - values.mean() + statistic(rows)
    return values.std().item(), *ends.tolist()


def entropy(tokens: Sequence[int]) -> float:
    """Entropy of the tokens' frequencies in a sequence, in nats."""
    counts = torch.tensor(list(Counter(tokens).values()), dtype=torch.float64)
    shares = counts / counts.sum()
    return -(shares * shares.log()).sum().item()


def distinct(sequences: Sequence[Sequence[int]], n: int) -> float:
    """Number of different n-grams over the number of n-grams, in all sequences together."""
    grams = [tuple(row[i : i + n]) for row in sequences for i in range(len(row) - n + 1)]
    return len(set(grams)) / len(grams) if grams else math.nan


def repetition(row: Sequence[int], n: int = 4) -> tuple[float, float]:
    """Numbers of n-grams of a sequence that occurred in it before, and of all of them."""
    grams = [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]
    return float(len(grams) - len(set(grams))), float(len(grams))
