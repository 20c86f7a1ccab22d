"""The published training step: loss, AdamW after clipping, and an average updated one parameter at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .graphs import NaiveGraph
from .network import NaiveModel
from .noise import Schedule

T_MIN, RATE, WARMUP, CLIP, DECAY = 1e-3, 3e-4, 2500, 1.0, 0.9999
"""The published settings: smallest time, learning rate, its warm-up steps, gradient norm, decay of the average."""


def loss_of_batch(
    model: nn.Module,
    graph: NaiveGraph,
    noise: Schedule,
    tokens: Int64[Tensor, "B L"],
    t: Float[Tensor, " B"] | None = None,
    x: Int64[Tensor, "B L"] | None = None,
) -> Float[Tensor, " B"]:
    """Loss [B] of each sequence, in nats.

    Args:
        model: Module from states [B, L] and total noise [B] to log-scores [B, L, S].
        graph: Forward process.
        noise: Noise schedule.
        tokens: Clean tokens [B, L].
        t: Times [B]; None: drawn independently.
        x: Noised states [B, L]; None: drawn.
    """
    t = (1 - T_MIN) * torch.rand(len(tokens), device=tokens.device) + T_MIN if t is None else t
    sigma, rate = noise(t)
    x = graph.perturb(tokens, sigma[:, None]) if x is None else x
    entropy = graph.entropy(model(x, sigma), sigma[:, None], x, tokens)
    return (rate[:, None] * entropy).sum(-1)


class NaiveEMA:
    """Moving average of parameters, in a Python loop over them.

    Args:
        parameters: Parameters to average.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.average = [p.detach().clone() for p in parameters]
        self.updates = 0

    @torch.no_grad()
    def update(self, parameters: Iterable[Tensor]) -> None:
        """average -= (1 - d) (average - parameter), d = min(.9999, (1 + n) / (10 + n)) at the n-th update."""
        self.updates += 1
        rest = 1 - min(DECAY, (1 + self.updates) / (10 + self.updates))
        for average, parameter in zip(self.average, parameters, strict=True):
            average.sub_(rest * (average - parameter))


class NaiveTrainer:
    """Trains the naive model on batches of tokens.

    Args:
        model: Network.
        graph: Forward process.
        noise: Noise schedule.
        batches: Endless batches of clean tokens [B, L].
    """

    def __init__(self, model: NaiveModel, graph: NaiveGraph, noise: Schedule, batches: Iterator[Tensor]) -> None:
        self.model, self.graph, self.noise, self.batches = model, graph, noise, batches
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=RATE, weight_decay=0.0)
        self.scaler = torch.amp.GradScaler(enabled=self.parameters[0].device.type == "cuda")
        self.ema = NaiveEMA(self.parameters)

    def step(self) -> float:
        """One update from the next batch: its mean loss, in nats per sequence."""
        tokens = next(self.batches).to(self.parameters[0].device)
        loss = loss_of_batch(self.model, self.graph, self.noise, tokens).mean()
        self.scaler.scale(loss).backward()
        self.update()
        self.optimizer.zero_grad()
        return loss.item()

    def update(self) -> None:
        """Unscale and clip the gradients, set the learning rate, update weights and average."""
        self.scaler.unscale_(self.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * min((self.ema.updates + 1) / WARMUP, 1.0)
        nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.ema.update(self.parameters)
