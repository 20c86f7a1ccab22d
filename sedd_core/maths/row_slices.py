"""A function of the logits of a linear head with its gradient, by slices of rows, for functions of any form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .categorical import row_chunks
from .linear_entropy import all_equal

Losses = Callable[[Tensor, slice], Tensor]
"""The losses [n] of a slice of rows, from their logits [n, S] and the slice."""


def sliced_losses(
    features: Float[Tensor, "N D"],
    weight: Float[Tensor, "S D"],
    bias: Float[Tensor, " S"] | None,
    losses: Losses,
    dtype: torch.dtype,
) -> Float64[Tensor, " N"]:
    """The losses [N] of all rows; the logits [N, S] of all rows are never held.

    Args:
        features: Features of the rows.
        weight: Weight of the head.
        bias: Bias of the head; None: none.
        losses: Function of the logits, with nothing else to differentiate.
        dtype: Data type of the matrix products.

    Returns:
        The losses, differentiable once in features, weight and bias.
    """
    # Inside of forward, gradients are always off, and needs_input_grad says nothing about no_grad.
    parts = [part for part in (features, weight, bias) if part is not None]
    gradient = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
    return _SlicedLosses.apply(features, weight, bias, losses, dtype, gradient)


class _SlicedLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        losses: Losses,
        dtype: torch.dtype,
        gradient: bool,
    ) -> Tensor:
        ones = torch.ones(len(features), dtype=torch.float64, device=features.device)
        values, ctx.gradients = _visit(features, weight, bias, losses, dtype, ones, gradient)
        ctx.save_for_backward(features, weight, bias)
        ctx.rest = losses, dtype
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None or not all_equal(upstream):
            features, weight, bias = ctx.saved_tensors
            losses, dtype = ctx.rest
            _, gradients = _visit(features, weight, bias, losses, dtype, upstream, True)
        elif len(upstream):
            gradients = [part.mul_(upstream[0]) for part in gradients]
        return *(gradients if ctx.needs_input_grad[2] else (*gradients[:2], None)), None, None, None


def _visit(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    losses: Losses,
    dtype: torch.dtype,
    upstream: Tensor,
    gradient: bool,
) -> tuple[Tensor, list[Tensor]]:
    """The losses [N], and the gradients of their sum with weights `upstream` [N] in features, weight and bias."""
    wide, inputs, low = torch.promote_types(dtype, torch.float32), features.to(dtype), weight.to(dtype)
    low_bias = None if bias is None else bias.to(dtype)
    values = upstream.new_empty(len(features))
    d_features, d_weight = torch.empty_like(features), torch.zeros_like(weight, dtype=wide)
    d_bias = torch.zeros_like(weight[:, 0], dtype=wide)
    with torch.autocast(features.device.type, enabled=False):
        for part in row_chunks(len(features), len(weight)):
            logits = F.linear(inputs[part], low, low_bias).requires_grad_(gradient)
            with torch.set_grad_enabled(gradient):
                sliced = losses(logits, part)
            values[part] = sliced.detach()
            if gradient:
                (slopes,) = torch.autograd.grad(sliced, logits, upstream[part])
                d_features[part] = (slopes @ low).to(features.dtype)
                d_weight += slopes.T @ inputs[part]
                d_bias += slopes.sum(0, dtype=wide)
    return values, [d_features, d_weight.to(weight.dtype), d_bias.to(weight.dtype)]
