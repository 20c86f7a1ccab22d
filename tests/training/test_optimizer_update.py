"""The fused update: AdamW and the average in one pass over the weights each, equal to the plain one to rounding."""

from __future__ import annotations

import pytest
import torch

from sedd_core.model.ema import EMA
from sedd_core.training.settings import Optimizer


def updated(fused: bool, rates: tuple[float, ...], dtype: torch.dtype) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Parameters and averages after one update per learning rate, by the fused kernel or in a loop."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(33, 17), (5,), (64, 64)]
    parameters = [torch.nn.Parameter(torch.randn(*shape, generator=generator, dtype=dtype)) for shape in shapes]
    settings = Optimizer(lr=1e-2, beta2=0.99, weight_decay=0.1)
    optimizer = settings.make(parameters)
    if not fused:
        options = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
        optimizer = torch.optim.AdamW(parameters, lr=1e-2, foreach=False, fused=False, **options)
    average = EMA(parameters, 0.9)
    for rate in rates:
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=dtype)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        average.update()
    return [p.detach() for p in parameters], average.average


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_the_fused_update_equals_the_plain_one(dtype: torch.dtype, tolerance: float) -> None:
    rates = (1e-2, 3e-3, 1e-3, 2e-2, 1e-2)
    for ours, plain in zip(updated(True, rates, dtype), updated(False, rates, dtype), strict=True):
        for value, expected in zip(ours, plain, strict=True):
            torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)


def test_the_kernel_is_fused_on_a_cpu() -> None:
    """A loop over small operations takes four times as long."""
    assert Optimizer().make([torch.nn.Parameter(torch.zeros(2))]).param_groups[0]["fused"] is True
    assert Optimizer().make([torch.nn.Parameter(torch.zeros(2, device="meta"))]).param_groups[0]["fused"] is None
