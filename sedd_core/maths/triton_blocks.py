"""`LogitBlocks` on a GPU: one Triton kernel per block of states in place of ten elementwise ones."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from .logit_blocks import LogitBlocks
from .numerics import LARGEST
from .triton_kernel import OPTIONS, visit_block

PROGRAMS_PER_PROCESSOR = 4
"""Programs of the kernel per multiprocessor; each sums the bias's gradient of its rows."""


class TritonBlocks(LogitBlocks):
    """Gradients of the logits carry all their factors, so that d_features and d_weight are plain products of them."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        grow = self.grow.abs().log().to(self.wide)
        self.factors = (self.grow.to(self.wide), grow, self.pull.to(self.wide).contiguous())
        self.buffer = self.inputs.new_empty(0)

    def block(self, block: slice, pi: Float64[Tensor, "K block"] | None) -> None:
        """Visit the logits of a block of states; pi is None where it is 0 in all components."""
        weight, width = self.weight[block].to(self.dtype), block.stop - block.start
        if not len(self.buffer):
            self.buffer = self.inputs.new_empty(len(self.x), width)
        logits = torch.mm(self.inputs, weight.T, out=self.buffer[:, :width])  # rows stay aligned in the last block
        d_bias = self._visit(logits, block, pi)
        if pi is not None:
            self.pooled.addmm_(pi.to(self.wide), weight.to(self.wide))
        if self.gradient:
            self.d_features += logits @ weight
            self.d_weight[block] = logits.T @ self.inputs
            self.d_bias[block] = d_bias.sum(0)

    def _visit(self, logits: Tensor, block: slice, pi: Tensor | None) -> Tensor:
        """Run the kernel. Returns the bias's gradients [n, block] of its n programs."""
        rows, width = logits.shape
        programs = min(rows, PROGRAMS_PER_PROCESSOR * processors(logits.device))
        d_bias = self.shift.new_empty(programs, width)
        if rows:
            with torch.cuda.device_of(logits):
                self._start(logits, block, pi, d_bias)
        return d_bias

    def _start(self, logits: Tensor, block: slice, pi: Tensor | None, d_bias: Tensor) -> None:
        visit_block[(len(d_bias),)](
            logits,
            self.bias if self.bias is None else self.bias[block],
            pi if pi is None else pi.to(self.wide).contiguous(),
            self.x.contiguous(),
            *self.factors,
            self.shift,
            self.sums,
            d_bias if self.gradient else None,
            len(logits),
            logits.stride(0),
            logits.shape[1],
            block.start,
            LARGEST=LARGEST,
            COMPONENTS=0 if pi is None else len(pi),
            STATES=1 << (logits.shape[1] - 1).bit_length(),
            **OPTIONS,
        )

    def _features_gradient(self) -> Tensor:
        return self.d_features


@cache
def runs_on(device: torch.device) -> bool:
    """Whether the kernel compiles and starts on a GPU, for which Triton needs a C compiler; warns if it does not.

    Args:
        device: GPU.
    """
    one = torch.ones(1, 16, device=device)
    x, form = torch.zeros(1, dtype=torch.int64, device=device), one[:, :1].double()
    try:
        TritonBlocks(one, one, None, x, form[0], form, torch.float32, True).block(slice(0, 1), None)
    except Exception as error:
        warnings.warn(f"The loss runs without its Triton kernel, which fails on {device}: {error}", stacklevel=2)
        return False
    return True


def processors(device: torch.device) -> int:
    """Number of multiprocessors of a GPU; 1 on a CPU, where Triton's interpreter runs."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
