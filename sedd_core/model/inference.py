"""Precision and compilation of a model that samples or is evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from ..maths.numerics import runs_in_bf16
from .score import ScoreModel

Precision = Literal["fp32", "bf16", "auto"]


@dataclass(frozen=True, kw_only=True)
class Inference:
    """How the network computes; the head's logits, scores and sums are in float32 at least, and draws in float64."""

    precision: Precision = "fp32"
    """Precision of the network without its head: fp32, bf16 (autocast), or auto: bf16 on a GPU of compute capability
    8.0 or above, fp32 elsewhere."""
    tf32: bool = False
    """Whether a GPU may round the factors of float32 matrix products to 10 bits (TF32), the head's included."""
    compile: bool = False
    """Whether the network is compiled by torch.compile."""

    def prepare(self, model: ScoreModel) -> ScoreModel:
        """Make a model compute so, in place, and return it. TF32 is a setting of the whole process.

        Args:
            model: Model on its device, in eval mode.
        """
        device = next(model.backbone.parameters()).device
        model.network_dtype = torch.bfloat16 if runs_in_bf16(self.precision, device) else None
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        if self.compile:
            model.backbone.compile()
        return model
