"""Joint distributions of short sequences, and their distance."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor


def random_joint(vocab_size: int, length: int, seed: int, concentration: float = 1.0) -> Float64[Tensor, "..."]:
    """A random joint distribution over all sequences: independent Gamma(concentration) weights, normalized.

    Args:
        vocab_size: Number V of data tokens.
        length: Number L of tokens per sequence.
        seed: Random seed.
        concentration: Shape parameter of the Gamma distribution; smaller values give more uneven probabilities.

    Returns:
        Probabilities [V, ..., V] with L axes.
    """
    weights = np.random.default_rng(seed).gamma(concentration, size=(vocab_size,) * length)
    return torch.from_numpy(weights / weights.sum())


def total_variation(p: Float64[Tensor, " N"], q: Float64[Tensor, " N"]) -> float:
    """Total variation distance of two distributions [N]: half the sum of absolute differences."""
    return (p - q).abs().sum().item() / 2
