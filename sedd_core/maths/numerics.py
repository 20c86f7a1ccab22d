"""Numerically stable functions, accurate at small and at large noise."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

LN2 = math.log(2.0)
LARGEST = 64.0
"""Largest exponent that is not shifted: sums and products of exp(64) over any vocabulary fit into float32."""
WITHOUT_FLOAT64 = ("mps",)
"""Device types without float64: only the network runs on them."""


def float64_device(device: torch.device | str) -> torch.device:
    """The device for draws, noise levels and probabilities of a network on `device`; the CPU without float64."""
    device = torch.device(device)
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def to_float64(x: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """The tensor in float64, on the `float64_device` of its device."""
    return x.to(float64_device(x.device)).double()


def log1mexp(s: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log(1 - exp(-s)) for s > 0 (-inf at 0), accurate on both sides of ln 2."""
    return torch.where(s < LN2, torch.log(-torch.expm1(-s)), torch.log1p(-torch.exp(-s)))


def log_expm1(s: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log(exp(s) - 1) = s + log(1 - exp(-s)) for s > 0, without overflow."""
    return s + log1mexp(s)


def student_t(level: float, freedom: int) -> float:
    """The t with P(|T| < t) = level for Student's t distribution (12.7, 4.30, ... at level .95).

    Bisection of P, a finite sum in theta = atan(t / sqrt(freedom)).

    Args:
        level: Probability in (0, 1).
        freedom: Degrees of freedom, at least 1.

    Source: Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    odd, power = freedom % 2, torch.arange(freedom // 2, dtype=torch.float64)
    factors = 1 - 1 / (2 * power + odd)
    factors[:1] = 1.0
    factors = factors.cumprod(0)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        theta = (low + high) / 2
        terms = factors * math.cos(theta) ** (2 * power + odd)
        inside = math.sin(theta) * terms.sum().item()
        inside = 2 / math.pi * (theta + inside) if odd else inside
        low, high = (theta, high) if inside < level else (low, theta)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def row_scores(log_score: Float[Tensor, "*shape S"], x: Int64[Tensor, "*shape"]) -> Float[Tensor, "*shape S"]:
    """exp(log_score) up to one positive factor per row, so that no row overflows or underflows as a whole.

    The factor is 1 if the largest log-score of a state other than x lies within +-LARGEST; otherwise it shifts that
    log-score back into the range, and the score at x is capped at exp(LARGEST), next to which all others vanish.
    A log-score of -inf gives 0.

    Args:
        log_score: Log-scores [..., S]: 0 at the current state, -inf for forbidden states.
        x: Current states [...].
    """
    return row_scores_(log_score.clone(), x)


def row_scores_(log_score: Float[Tensor, "*shape S"], x: Int64[Tensor, "*shape"]) -> Float[Tensor, "*shape S"]:
    """`row_scores` in place. Args: see there; log-scores may have an additive constant per row, which is lost."""
    own = log_score.gather(-1, x[..., None])
    top = log_score.scatter_(-1, x[..., None], -math.inf).amax(-1, keepdim=True)
    shift = (top - top.clamp(-LARGEST, LARGEST)).masked_fill(top == -math.inf, 0.0)
    if shift.any():  # one pass over all scores, which are rarely out of range
        log_score.sub_(shift)
    return log_score.scatter_(-1, x[..., None], (own - shift).clamp(max=LARGEST)).exp_()


def own_and_others(
    score: Float[Tensor, "N S"], x: Int64[Tensor, " N"]
) -> tuple[Float64[Tensor, " N"], Float64[Tensor, " N"]]:
    """The scores of states x, and the sums of all others, which would be lost next to a large score of x.

    Args:
        score: Scores [N, S], overwritten at x and restored.
        x: Current states [N].
    """
    own = score.gather(-1, x[:, None])
    others = score.scatter_(-1, x[:, None], 0.0).sum(-1)
    score.scatter_(-1, x[:, None], own)
    return own[:, 0].double(), others.double()


def expand_to(values: Shaped[Tensor, "*lead"], x: Shaped[Tensor, "*lead_and_more"]) -> Shaped[Tensor, "..."]:
    """Expand `values` over the trailing axes of `x`: [B] or [B, L] to the shape [B, L].

    Axes are aligned at the front, so that a noise level of shape [B] is never broadcast along the length axis, not
    even if B = L.

    Raises:
        ValueError: The shape of `values` is not the leading part of that of `x`.
    """
    if values.shape != x.shape[: values.ndim]:
        raise ValueError(
            f"shape {tuple(values.shape)} does not lead {tuple(x.shape)}: give one value per sequence or per position"
        )
    return values.reshape(values.shape + (1,) * (x.ndim - values.ndim)).expand(x.shape)


def runs_in_bf16(precision: str, device: torch.device) -> bool:
    """Whether a network runs in bfloat16 on a device.

    Args:
        precision: "fp32", "bf16", or "auto": bfloat16 on a GPU that computes in it (compute capability 8.0 and above);
            older ones only emulate it.
        device: The device of the network.
    """
    able = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return precision == "bf16" or (precision == "auto" and able)
