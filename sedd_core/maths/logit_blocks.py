"""The blocks of states that `linear_entropy` visits: exponentials, sums and gradients of their logits."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn import functional as F

from .numerics import LARGEST


class LogitBlocks:
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
        d_features = self._features_gradient().addcmul_(clean[:, None], self._rows(x0), value=-1)
        d_weight = self.d_weight.index_add_(0, x0, self.features.to(self.wide) * clean[:, None], alpha=-1)
        d_bias = self.d_bias.index_add_(0, x0, clean, alpha=-1)
        return d_features.to(self.features.dtype), d_weight.to(self.weight.dtype), d_bias.to(self.weight.dtype)

    def _features_gradient(self) -> Tensor:
        """d_features, the terms of the clean token left out."""
        return self.d_features.mul_(self._scale()[:, None])

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
