"""Floating-point operations of training, per token."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..maths.draws import Draws
from ..stages import Backbone, Graph, Noise, NoiseLevel

FEW = 64
"""Number of times, and of positions at each, from which `share_in_loss` is measured."""


def training_operations(
    network: Backbone, x: Int64[Tensor, "1 L"], level: NoiseLevel, cond: Tensor | None, share: float
) -> float:
    """Count the operations per token of a forward and backward pass: three times those of a forward pass.

    Args:
        network: Network, which may have fake tensors.
        x: States of one sequence.
        level: Noise level [1] of the sequence.
        cond: Condition [1, ...] of the sequence.
        share: Share of positions in the loss, where the head runs.
    """
    counter = FlopCounterMode(display=False)  # counts no fused attention of a CPU
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network(x, level, cond)
    return 3 * (counter.get_total_flops() / x.shape[1] + 2 * network.head.weight.numel() * share)


def share_in_loss(graph: Graph, noise: Noise, device: torch.device) -> float:
    """Share of positions at which the head runs (the reachable ones), averaged over times.

    Args:
        graph: Forward process.
        noise: Noise schedule.
        device: Device of both.
    """
    t = (torch.arange(FEW, dtype=torch.float64, device=device) + 0.5) / FEW
    x0 = torch.zeros(FEW, FEW, dtype=torch.int64, device=device)
    level = noise(t)
    x = graph.perturb(x0, level, Draws(0, torch.arange(FEW, device=device)))
    return graph.reachable(x, level).double().mean().item()
