"""Forms that keep their digits at small and at large noise."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

LN2 = math.log(2.0)


def log1mexp(s: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log(1 - exp(-s)) for s > 0 (-inf at 0), accurate on both sides of ln 2."""
    return torch.where(s < LN2, torch.log(-torch.expm1(-s)), torch.log1p(-torch.exp(-s)))


def log_expm1(s: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log(exp(s) - 1) = s + log(1 - exp(-s)) for s > 0, without overflow."""
    return s + log1mexp(s)


def expand_to(values: Shaped[Tensor, "*lead"], x: Shaped[Tensor, "*lead_and_more"]) -> Shaped[Tensor, "..."]:
    """`values` repeated over the trailing axes of `x`: [B] or [B, L] against x of shape [B, L].

    Axes are aligned at the front, so that a noise level of shape [B] never meets the length axis by accident,
    not even when B = L.
    """
    if values.shape != x.shape[: values.ndim]:
        raise ValueError(f"{tuple(values.shape)} does not lead {tuple(x.shape)}: one value per sequence or position")
    return values.reshape(values.shape + (1,) * (x.ndim - values.ndim)).expand(x.shape)
