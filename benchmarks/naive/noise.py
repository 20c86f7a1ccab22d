"""The two published noise schedules, in float32."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float32
from torch import Tensor

Schedule = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From times to total noise and its derivative, each of the shape of the times."""
EPS = 1e-3
"""Probability that the log-linear schedule leaves a token unchanged at time 1."""
SIGMA_MIN, SIGMA_MAX = 1e-4, 20.0


def loglinear(t: Float32[Tensor, "*shape"]) -> tuple[Float32[Tensor, "*shape"], Float32[Tensor, "*shape"]]:
    """Total noise -log(1 - (1 - eps) t) and its derivative in t, at times t [...]."""
    return -torch.log1p(-(1 - EPS) * t), (1 - EPS) / (1 - (1 - EPS) * t)


def geometric(t: Float32[Tensor, "*shape"]) -> tuple[Float32[Tensor, "*shape"], Float32[Tensor, "*shape"]]:
    """Total noise sigma_min^(1 - t) sigma_max^t and its derivative in t, at times t [...]."""
    total = SIGMA_MIN ** (1 - t) * SIGMA_MAX**t
    return total, total * math.log(SIGMA_MAX / SIGMA_MIN)
