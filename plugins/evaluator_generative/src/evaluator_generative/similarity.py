"""MAUVE, by the package mauve-text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sedd_core import UserError
from sedd_core.record import Figure

CLUSTERINGS = 5
"""Clusterings whose results are averaged: the figure depends on where k-means starts."""


def mauve(made: Sequence[Tensor | None], real: Sequence[Tensor | None], seed: int) -> tuple[Figure, int]:
    """MAUVE of two sets of features: the mean over clusterings with its standard error, and the number of buckets.

    Args:
        made: Features [D] of samples; None of an empty text, which is left out.
        real: Features [D] of validation text.
        seed: Random seed of the clusterings.

    Raises:
        UserError: mauve-text is not installed, or there are fewer than two texts.
    """
    try:
        from mauve import compute_mauve
    except ImportError as error:
        raise UserError(
            "evaluator.mauve=true needs mauve-text: pip install 'sedd-evaluator-generative[mauve]', or set mauve=false."
        ) from error
    p, q = (torch.stack([one for one in part if one is not None]).double().numpy() for part in (made, real))
    buckets = max(2, min(len(p), len(q)) // 10)
    options: dict[str, Any] = {"num_buckets": buckets, "verbose": False}
    values = [
        float(compute_mauve(p_features=p, q_features=q, seed=seed * CLUSTERINGS + index, **options).mauve)
        for index in range(CLUSTERINGS)
    ]
    spread = torch.tensor(values, dtype=torch.float64)
    return Figure("mauve", spread.mean().item(), "share", (spread.std() / CLUSTERINGS**0.5).item(), n=len(p)), buckets
