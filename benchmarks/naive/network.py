"""The log-scores of all S states at all positions, from the framework's trunk."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sedd_core.stages import Backbone, NoiseLevel

from .graphs import noise_ratio


class NaiveModel(nn.Module):
    """The published network: bf16 within, if at all, ends with the logits; what follows keeps their dtype.

    Args:
        backbone: Trunk and linear head.
        scaled: Whether - log(exp(sigma) - 1) - log V is added, as published for absorb.
        bf16: Whether trunk and head run in bf16 autocast.
    """

    def __init__(self, backbone: Backbone, *, scaled: bool, bf16: bool = False) -> None:
        super().__init__()
        self.backbone, self.scaled, self.bf16 = backbone, scaled, bf16

    def forward(self, x: Int64[Tensor, "B L"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B L S"]:
        """Log-scores [B, L, S] of states x at total noise sigma; 0 at the current state."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            level = NoiseLevel(sigma, sigma, torch.ones_like(sigma))
            logits = self.backbone.logits(self.backbone(x, level))
        if self.scaled:
            offset = noise_ratio(sigma).log().to(logits.dtype)[:, None, None]
            logits = logits - offset - math.log(logits.shape[-1] - 1)
        return logits.scatter(-1, x[..., None], torch.zeros_like(logits[..., :1]))
