"""One training step, and the pieces it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor, nn

from .draws import Draws, permutation
from .ema import EMA
from .objective import ScoreEntropy
from .runs.settings import Optimizer, Training
from .score import ScoreModel
from .stages import Noise, Sequences


@dataclass
class StepResult:
    """What one update saw. loss: nats a sequence. grad_norm: before clipping."""

    loss: float
    grad_norm: float


class Trainer:
    """Updates a model on sequences; every draw of step s is a function of (seed, s, index in the batch)."""

    def __init__(
        self, model: ScoreModel, noise: Noise, data: Sequences, optimizer: Optimizer, training: Training, seed: int
    ) -> None:
        self.objective = ScoreEntropy(model)
        self.noise = noise
        self.data = data
        self.training = training
        self.seed = seed
        self.parameters = [p for p in nn.ModuleList([self.objective, noise]).parameters() if p.requires_grad]
        self.clip = optimizer.clip
        self.adamw, self.schedule = adamw(self.parameters, optimizer)
        self.ema = EMA(self.parameters, training.ema)
        self.device = self.parameters[0].device
        self.order = Order(len(data), seed)

    def step(self, step: int) -> StepResult:
        """One update: draw data, times and noise; loss; clipped AdamW step; average."""
        draws = Draws(self.seed, torch.arange(self.training.batch_size, device=self.device), step)
        batch = self.data.batch(self.order.indices(step, self.training.batch_size)).to(self.device)
        x0 = batch.tokens

        t = times(draws, self.training)
        level = self.noise(t)
        x = self.objective.model.graph.perturb(x0, level.sigma, draws)
        loss, _ = self.objective(x, x0, level, level.rate, batch.counts, batch.cond)

        return self.update(loss)

    def update(self, loss: Float64[Tensor, ""]) -> StepResult:
        """Backward, clip, AdamW with the warm-up's learning rate, average."""
        self.adamw.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.adamw.step()
        self.schedule.step()
        self.ema.update()
        return StepResult(loss.item(), norm.item())


def adamw(
    parameters: list[nn.Parameter], settings: Optimizer
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW whose learning rate rises linearly: the update of step s (from 0) has lr * min((s + 1) / warmup, 1)."""
    optimizer = torch.optim.AdamW(
        parameters,
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
    )
    warmup = max(settings.warmup, 1)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / warmup, 1.0))


def times(draws: Draws, training: Training) -> Float64[Tensor, " B"]:
    """Times in (t_min, 1), one a sequence: independent, or one in each of B equal parts."""
    uniform = draws.uniform("time", 1)[:, 0]
    if training.times == "stratified":
        uniform = (draws.indices + uniform) / training.batch_size
    return training.t_min + (1 - training.t_min) * uniform


class Order:
    """The order of training: a new permutation of the sequences each epoch, a function of (seed, epoch)."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.int64)

    def indices(self, step: int, batch_size: int) -> Int64[Tensor, " B"]:
        """Which sequences the batch of a step holds."""
        places = torch.arange(step * batch_size, (step + 1) * batch_size)
        indices = torch.empty_like(places)
        for epoch in places.div(self.size, rounding_mode="floor").unique().tolist():
            if epoch != self._epoch:
                self._epoch, self._permutation = epoch, permutation(self.size, self.seed, f"epoch {epoch}")
            inside = places // self.size == epoch
            indices[inside] = self._permutation[places[inside] % self.size]
        return indices
