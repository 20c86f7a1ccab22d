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

import os
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

from .logit_blocks import LogitBlocks

BLOCK = 4096
"""States per block."""
TRITON = os.environ.get("SEDD_TRITON", "1") != "0" and find_spec("triton") is not None
"""Whether GPUs may use the Triton kernel: where it is installed, unless SEDD_TRITON=0."""


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
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients, ctx.gradients = ctx.gradients, None  # not saved by autograd, which would copy them
        if gradients is None:  # a second backward pass
            gradients = [torch.zeros_like(part) for part in (*ctx.saved_tensors[:2], ctx.saved_tensors[1][:, 0])]
            _scale(*gradients, upstream, *ctx.saved_tensors, *ctx.rest[:-1], False)
        else:
            _scale(*gradients, upstream, *ctx.saved_tensors, *ctx.rest[:-1], True)
        return *(gradients if ctx.needs_input_grad[2] else (*gradients[:2], None)), *[None] * 10


INPUTS = (
    "Tensor features, Tensor weight, Tensor? bias, Tensor x, Tensor x0, Tensor grow, Tensor pull, Tensor clean, "
    "Tensor const, Tensor components, int[] spans, ScalarType dtype"
)
"""Stated, since torch cannot infer it from functions whose types are checked in tests."""


@torch.library.custom_op(
    "sedd_core::linear_entropy",
    mutates_args=(),
    schema=f"({INPUTS}, bool gradient) -> (Tensor, Tensor, Tensor, Tensor)",
)
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
        visit = blocks_for(features.device, dtype)(features, weight, bias, x, grow, pull, dtype, gradient)
        for start in range(0, len(weight), BLOCK):
            block = slice(start, min(start + BLOCK, len(weight)))
            pairs = zip(spans[::2], spans[1::2], strict=True)
            overlaps = any(first < block.stop and start < last for first, last in pairs)
            visit.block(block, components[:, block] if overlaps else None)
        losses = visit.losses(x0, clean, const, components)
        empty = (losses.new_empty(0), losses.new_empty(0), losses.new_empty(0))
        return losses, *(visit.gradients(x0, clean) if gradient else empty)


def blocks_for(device: torch.device, dtype: torch.dtype) -> type[LogitBlocks]:
    """How blocks are visited: by a Triton kernel on a GPU that has bfloat16, where Triton is installed and runs.

    Args:
        device: Device of the features.
        dtype: Data type of the matrix products.
    """
    if not TRITON or device.type != "cuda" or dtype not in (torch.bfloat16, torch.float32):
        return LogitBlocks
    if torch.cuda.get_device_capability(device) < (8, 0):
        return LogitBlocks
    from .triton_blocks import TritonBlocks, runs_on

    return TritonBlocks if runs_on(device) else LogitBlocks


@_linear_entropy.register_fake
def _(features: Tensor, weight: Tensor, bias: Tensor | None, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    losses = features.new_empty(x.shape, dtype=torch.float64)
    empty = losses.new_empty(0)
    if not arguments[-1]:
        return losses, empty, empty.clone(), empty.clone()
    return losses, torch.empty_like(features), torch.empty_like(weight), torch.empty_like(weight[:, 0])


GRADIENTS = "Tensor(a!) d_features, Tensor(b!) d_weight, Tensor(c!) d_bias"


@torch.library.custom_op(
    "sedd_core::scale_linear_entropy",
    mutates_args=("d_features", "d_weight", "d_bias"),
    schema=f"({GRADIENTS}, Tensor upstream, {INPUTS}, bool known) -> ()",
)
def _scale(
    d_features: Tensor,
    d_weight: Tensor,
    d_bias: Tensor,
    upstream: Tensor,
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
    known: bool,
) -> None:
    """Multiply `known` gradients of the sum by the losses' equal weight `upstream`; else compute them anew."""
    gradients = (d_features, d_weight, d_bias)
    if known and all_equal(upstream):
        for part in gradients:
            part.mul_(upstream[0] if len(upstream) else 1)
        return
    form = (grow * upstream, pull * upstream[:, None], clean * upstream, const)
    found = _linear_entropy(features, weight, bias, x, x0, *form, components, spans, dtype, True)[1:]
    for part, value in zip(gradients, found, strict=True):
        part.copy_(value)


def all_equal(values: Tensor) -> bool:
    """Whether all entries are the same; a wait for the device, unless they are one number expanded."""
    return len(values) <= 1 or values.stride() == (0,) or bool((values == values[:1]).all())


def workspace(rows: int, weight: Tensor, dtype: torch.dtype) -> int:
    """Bytes that the operator needs at its peak beside its inputs and results."""
    wide = torch.promote_types(dtype, torch.float32)
    per_logit = wide.itemsize + (dtype.itemsize if dtype != wide else 0)
    return rows * (min(BLOCK, len(weight)) * per_logit + 2 * weight.shape[1] * wide.itemsize)
