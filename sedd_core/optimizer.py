"""torch's AdamW and its learning rate, as the settings say."""

from __future__ import annotations

import math

import torch
from torch import nn

from .runs.settings import Optimizer


def adamw(
    parameters: list[nn.Parameter], settings: Optimizer, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW and its learning rate: at update s (from 0), lr * min((s + 1) / warmup, 1) * fall(s / steps)."""
    optimizer = torch.optim.AdamW(
        parameters,
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=parameters[0].device.type == "cuda" or None,
    )
    warmup = max(settings.warmup, 1)
    fall = {"constant": lambda u: 1.0, "linear": lambda u: 1 - u, "cosine": lambda u: (1 + math.cos(math.pi * u)) / 2}
    falling = fall[settings.schedule]
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, 1.0) * falling(min(step / steps, 1.0))
    )
