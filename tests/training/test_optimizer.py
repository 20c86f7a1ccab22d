"""The update in one pass is torch's plain one, to the rounding of float32."""

from __future__ import annotations

import torch
from torch import nn

from sedd_core.model.ema import EMA
from sedd_core.training.settings import Optimizer


def test_the_fused_update_is_the_plain_one() -> None:
    """Five updates with decay and clipping, against torch's loop over tensors and the average's formula."""
    torch.manual_seed(0)
    start = [torch.randn(40, 30), torch.randn(7)]
    ours, plain = ([nn.Parameter(part.clone()) for part in start] for _ in range(2))
    made = Optimizer(lr=1e-2, weight_decay=0.1).make(ours)
    right = torch.optim.AdamW(plain, lr=1e-2, weight_decay=0.1, foreach=False, fused=False)
    assert made.defaults["fused"]
    ema, average = EMA(ours, 0.9999), [part.clone() for part in start]
    for update in range(1, 6):
        for one, other in zip(ours, plain, strict=True):
            one.grad = other.grad = torch.randn_like(one)
        made.step()
        right.step()
        ema.update()
        for mean, other in zip(average, plain, strict=True):
            mean.add_((1 - (1 + update) / (10 + update)) * (other.detach() - mean))
    for one, other in zip([*ours, *ema.average], [*plain, *average], strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), rtol=1e-6, atol=1e-6)
