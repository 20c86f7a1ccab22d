"""The score entropy of a linear head with its gradient, from one visit to each logit.

With logits l = h W^T + b, the loss of a row is

    grow sum_{y != x} e^l_y - sum_k pull_k sum_{y != x} pi_ky l_y - clean l_x0 + const

(`InterpolatingGraph.linear_form` gives the coefficients) and its derivative in l_y, for y != x, is

    grow e^l_y - sum_k pull_k pi_ky - clean [y = x0]

There is no normalizer, so that loss and gradient follow from a block of states at a time: three matrix products, and
the logits [N, S] are never held. The gradient is made in the forward pass, for losses that are summed or averaged;
weights of the rows belong into the coefficients. Losses differentiated with unequal weights are visited again.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .numerics import LARGEST

BLOCK = 4096
"""States per block."""


class LinearForm(NamedTuple):
    """Coefficients of the loss in the logits of each row; see the module."""

    grow: Float64[Tensor, " N"]
    pull: Float64[Tensor, "N K"]
    clean: Float64[Tensor, " N"]
    const: Float64[Tensor, " N"]


def linear_entropy(
    features: Float[Tensor, "N D"],
    weight: Float[Tensor, "S D"],
    bias: Float[Tensor, " S"] | None,
    x: Int64[Tensor, " N"],
    x0: Int64[Tensor, " N"],
    form: LinearForm,
    components: Float64[Tensor, "K S"],
    spans: list[int],
    dtype: torch.dtype,
) -> Float64[Tensor, " N"]:
    """The loss [N] of each row; see the module.

    Args:
        features: Features h of the rows.
        weight: Weight W of the head.
        bias: Bias b of the head; None: none.
        x: Excluded state of each row.
        x0: Clean token of each row.
        form: Coefficients of the loss.
        components: Distributions pi_k over the states.
        spans: First state with pi_k > 0 and the one after the last, for each component in turn.
        dtype: Data type of the matrix products; exponentials and sums are in float32 or wider.

    Returns:
        The losses, differentiable once in features, weight and bias.
    """
    # Inside of forward, gradients are always off, and needs_input_grad says nothing about no_grad.
    parts = [part for part in (features, weight, bias) if part is not None]
    gradient = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
    return _LinearEntropy.apply(features, weight, bias, x, x0, *form, components, spans, dtype, gradient)


class _LinearEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, *arguments: Any) -> Tensor:
        losses, *ctx.gradients = _linear_entropy(features, weight, bias, *arguments)
        ctx.save_for_backward(features, weight, bias, *arguments[:7])
        ctx.rest = arguments[7:]
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (upstream,) = grad_outputs
        gradients, ctx.gradients = ctx.gradients, None  # not saved by autograd, which would copy them
        if gradients is None or not bool((upstream == upstream[:1]).all()):
            features, weight, bias, x, x0, *form, components = ctx.saved_tensors
            form = [part * upstream.view(-1, *[1] * (part.ndim - 1)) for part in form]
            _, *gradients = _linear_entropy(features, weight, bias, x, x0, *form, components, *ctx.rest)
        elif len(upstream):
            gradients = [part.mul_(upstream[0]) for part in gradients]
        return *(gradients if ctx.needs_input_grad[2] else (*gradients[:2], None)), *[None] * 10


SCHEMA = (
    "(Tensor features, Tensor weight, Tensor? bias, Tensor x, Tensor x0, Tensor grow, Tensor pull, Tensor clean, "
    "Tensor const, Tensor components, int[] spans, ScalarType dtype, bool gradient) -> (Tensor, Tensor, Tensor, Tensor)"
)
"""Stated, since torch cannot infer it from functions whose types are checked in tests."""


@torch.library.custom_op("sedd_core::linear_entropy", mutates_args=(), schema=SCHEMA)
def _linear_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    x: Tensor,
    x0: Tensor,
    grow: Tensor,
    pull: Tensor,
    clean: Tensor,
    const: Tensor,
    components: Tensor,
    spans: list[int],
    dtype: torch.dtype,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The losses [N], and the gradients of their sum in features, weight and bias; of size 0 without `gradient`."""
    with torch.autocast(features.device.type, enabled=False):
        visit = _Visit(features, weight, bias, x, grow, pull, dtype, gradient)
        for start in range(0, len(weight), BLOCK):
            block = slice(start, min(start + BLOCK, len(weight)))
            pairs = zip(spans[::2], spans[1::2], strict=True)
            overlaps = any(first < block.stop and start < last for first, last in pairs)
            visit.block(block, components[:, block] if overlaps else None)
        losses = visit.losses(x0, clean, const, components)
        empty = (losses.new_empty(0), losses.new_empty(0), losses.new_empty(0))
        return losses, *(visit.gradients(x0, clean) if gradient else empty)


@_linear_entropy.register_fake
def _(features: Tensor, weight: Tensor, bias: Tensor | None, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    losses = features.new_empty(x.shape, dtype=torch.float64)
    empty = losses.new_empty(0)
    if not arguments[-1]:
        return losses, empty, empty.clone(), empty.clone()
    return losses, torch.empty_like(features), torch.empty_like(weight), torch.empty_like(weight[:, 0])


class _Visit:
    """Sums over the blocks of states. Exponentials are e^(l - shift), the shift [N] growing where logits are large.

    Until `gradients` scales it, d_features is sum_y (e^l_y - sum_k fade_k pi_ky) e^-shift W_y, fade = pull / grow.
    """

    def __init__(
        self,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        x: Tensor,
        grow: Tensor,
        pull: Tensor,
        dtype: torch.dtype,
        gradient: bool,
    ) -> None:
        self.features, self.weight, self.bias, self.x, self.grow, self.pull = features, weight, bias, x, grow, pull
        self.dtype, self.wide, self.gradient = dtype, torch.promote_types(dtype, torch.float32), gradient
        self.inputs = features.to(dtype)
        self.fade = torch.where(grow != 0, pull.T / grow, 0.0).T
        self.shift = features.new_zeros(len(x), dtype=self.wide)
        self.sums = torch.zeros_like(grow)
        self.pooled = features.new_zeros(pull.shape[1], features.shape[1], dtype=self.wide)
        if gradient:
            self.d_features = torch.zeros_like(features, dtype=self.wide)
            self.d_weight = torch.empty_like(weight, dtype=self.wide)
            self.d_bias = torch.empty_like(weight[:, 0], dtype=self.wide)

    def block(self, block: slice, pi: Float64[Tensor, "K block"] | None) -> None:
        """Visit the logits of a block of states; pi is None where it is 0 in all components."""
        weight = self.weight[block].to(self.dtype)
        logits = F.linear(self.inputs, weight, None if self.bias is None else self.bias[block].to(self.dtype))
        logits = _fill(logits.to(self.wide), self.x - block.start, -math.inf)
        shift = torch.maximum(self.shift, logits.amax(-1) - LARGEST)
        faded, self.shift = (self.shift - shift).exp(), shift
        exponentials = logits.sub_(shift[:, None]).exp_()
        self.sums.mul_(faded).add_(exponentials.sum(-1))
        if pi is not None:
            self.pooled.addmm_(pi.to(self.wide), weight.to(self.wide))
        if not self.gradient:
            return
        if pi is not None:
            fade = self.fade * torch.exp(-shift.double())[:, None]
            exponentials.addmm_(fade.to(self.wide), pi.to(self.wide), alpha=-1)
            _fill(exponentials, self.x - block.start, 0.0)
        slopes, scale = exponentials.to(self.dtype), self._scale()
        self.d_features.mul_(faded[:, None]).add_(slopes @ weight)
        self.d_weight[block] = slopes.T @ (self.features * scale[:, None]).to(self.dtype)
        self.d_bias[block] = exponentials.T @ scale

    def losses(self, x0: Tensor, clean: Tensor, const: Tensor, components: Tensor) -> Tensor:
        """The loss [N] of each row, summed in float64."""
        inputs, pi_x = self.inputs.to(self.wide), components[:, self.x].T
        mean = (inputs @ self.pooled.T).double() - pi_x * self._logits(inputs, self.x)[:, None]
        if self.bias is not None:
            mean += (components * self.bias).masked_fill(components == 0, 0.0).sum(-1)  # the bias may be -inf
        pulled = torch.where(self.pull != 0, self.pull * mean, 0.0).sum(-1)
        at_clean = torch.where(clean != 0, clean * self._logits(inputs, x0), 0.0)
        return self.grow * self.shift.double().exp() * self.sums - pulled - at_clean + const

    def gradients(self, x0: Tensor, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of the sum of the losses in features, weight and bias."""
        clean = clean.to(self.wide)
        d_features = self.d_features.mul_(self._scale()[:, None]).addcmul_(clean[:, None], self._rows(x0), value=-1)
        d_weight = self.d_weight.index_add_(0, x0, self.features.to(self.wide) * clean[:, None], alpha=-1)
        d_bias = self.d_bias.index_add_(0, x0, clean, alpha=-1)
        return d_features.to(self.features.dtype), d_weight.to(self.weight.dtype), d_bias.to(self.weight.dtype)

    def _scale(self) -> Tensor:
        return (self.grow * self.shift.double().exp()).to(self.wide)

    def _rows(self, states: Tensor) -> Tensor:
        return self.weight[states].to(self.dtype).to(self.wide)

    def _logits(self, inputs: Tensor, states: Tensor) -> Tensor:
        logits = (inputs * self._rows(states)).sum(-1)
        return (logits if self.bias is None else logits + self.bias[states]).double()


def _fill(values: Tensor, column: Tensor, value: float) -> Tensor:
    """Set values[i, column[i]] in place, in the rows whose column is in range; without a wait for the device."""
    inside, column = (column >= 0) & (column < values.shape[1]), column.clamp(0, values.shape[1] - 1)[:, None]
    return values.scatter_(1, column, torch.where(inside[:, None], value, values.gather(1, column)))
