"""One training step."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR

from ..distributed.world import World
from ..errors import UserError
from ..maths.draws import Draws, key
from ..maths.numerics import float64_device, to_float64
from ..model.ema import EMA
from ..model.score import ScoreModel
from ..stages import Graph, Noise, Sequences
from ..stages.data import restore_given
from .batches import TIME_BINS, ShuffledIndices, draw_times, loss_by_time_bin, microbatches
from .objective import ScoreEntropy
from .settings import Optimizer, Training
from .state import check_optimizer_state


@dataclass
class StepResult:
    """What one update saw, over all processes."""

    loss: float
    """Mean loss per sequence, in nats."""
    grad_norm: float
    """Norm of the gradient before clipping."""
    loss_by_time_bin: list[float]
    """Sum of the losses of the sequences with a time in each of TIME_BINS equal bins, in nats."""
    tokens_by_time_bin: list[float]
    """Number of tokens of these sequences that the figures are divided by."""
    updated: bool
    """Whether the weights were updated: not where the loss or the gradient is not finite."""
    data_seconds: float
    """Seconds that this process waited for data."""
    stop_requested: bool
    """Whether a signal requested any process to stop."""


class Trainer:
    """Updates a model on sequences; every draw of step s is a function of (seed, s, index in the global batch).

    Dropout masks alone are functions of (seed, s, process, part).
    """

    def __init__(
        self,
        model: ScoreModel,
        noise: Noise,
        data: Sequences,
        optimizer: Optimizer,
        training: Training,
        seed: int,
        world: World | None = None,
    ) -> None:
        check_process_is_fixed(noise, model.graph)
        self.world = world or World(device=next(model.parameters()).device)
        self.objective = ScoreEntropy(model)
        self.noise = noise
        self.data = data
        self.training = training
        self.seed = seed
        self.parameters = [p for p in self.objective.parameters() if p.requires_grad]
        self.clip = optimizer.clip
        self.optimizer = optimizer.make(self.parameters)
        self.factor = lambda step: optimizer.factor(step, training.steps)
        self.schedule = LambdaLR(self.optimizer, self.factor)
        self.ema = EMA(self.parameters, training.ema_decay)
        self.shuffled = ShuffledIndices(len(data), seed)
        self.microbatches = microbatches(training, self.world)
        self.bf16 = training.precision == "bf16" or (training.precision == "auto" and self.device.type == "cuda")
        if training.compile:
            model.backbone.compile()
        self.wrapped = self.world.wrap(self.objective)

    @property
    def device(self) -> torch.device:
        """Where data, draws and noise levels are: with the network, or on the CPU where its device has no float64."""
        return float64_device(self.world.device)

    def step(self, step: int, stop: bool = False) -> StepResult:
        """One update: draw data, times and noise; loss; clipped step; average. stop: tell all processes so."""
        self.optimizer.zero_grad()
        sums = torch.zeros(1 + 2 * TIME_BINS, dtype=torch.float64, device=self.device)
        sums[0] = float(stop)
        order, data_seconds = self.shuffled.indices(step, self.training.batch_size), 0.0
        for number, indices in enumerate(self.microbatches):
            torch.manual_seed(key(self.seed, "dropout", step, self.world.rank, number))
            started = time.monotonic()
            batch = self.data.batch(order[indices]).to(self.device)
            data_seconds += time.monotonic() - started
            draws = Draws(self.seed, indices.to(self.device), step)
            last = number == len(self.microbatches) - 1
            with self.unsynchronized() if not last else nullcontext():
                loss, losses, t = self.loss(batch.tokens, draws, batch.loss_mask, batch.cond)
                (loss / len(self.microbatches)).backward()
            sums[1:] += loss_by_time_bin(
                t, torch.stack([losses.detach(), batch.full_text_mask().sum(-1).double()])
            ).flatten()
        return self.update(sums, data_seconds)

    def loss(
        self, x0: Int64[Tensor, "B L"], draws: Draws, loss_mask: Tensor | None, cond: Tensor | None
    ) -> tuple[Float64[Tensor, ""], Float64[Tensor, " B"], Float64[Tensor, " B"]]:
        """The loss of some sequences of a batch: its mean, each one's, and the times that were drawn."""
        t = draw_times(draws, self.training)
        level = self.noise(t)
        x = restore_given(self.objective.model.graph.perturb(x0, level.sigma, draws), x0, loss_mask)
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16):
            loss, losses = self.wrapped(x, x0, level, level.rate, loss_mask, cond)
        return loss, losses, t

    def update(self, sums: Float64[Tensor, " N"], data_seconds: float = 0.0) -> StepResult:
        """Clip, the optimizer with its schedule, average; nothing of it where a number is not finite.

        sums: of this process: whether to stop, losses by time, tokens by time.
        """
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        asked, *rest, grad_norm = torch.cat([self.world.sum(sums), to_float64(norm[None])]).tolist()
        losses, tokens = rest[:TIME_BINS], rest[TIME_BINS:]
        loss = sum(losses) / self.training.batch_size
        updated = math.isfinite(loss) and math.isfinite(grad_norm)
        if updated:
            self.optimizer.step()
            self.schedule.step()
            self.ema.update()
        return StepResult(loss, grad_norm, losses, tokens, updated, data_seconds, asked > 0)

    def batch_at(self, step: int) -> tuple[Int64[Tensor, "B L"], Float64[Tensor, " B"]]:
        """The tokens and times of this process's sequences at a step: they can be had again at any time."""
        indices = torch.cat(self.microbatches)
        batch = self.data.batch(self.shuffled.indices(step, self.training.batch_size)[indices])
        return batch.tokens, draw_times(Draws(self.seed, indices, step), self.training)

    def state(self) -> dict[str, Any]:
        """What resuming needs besides weights and averages: all else is a function of the step."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "settings": self.optimizer.defaults,
            "updates": self.ema.updates,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state; settings that have been changed since are the new ones.

        KeyError, ValueError or another of Python's and torch's errors: it is of another optimizer, or damaged.
        """
        check_optimizer_state(state["optimizer"], self.optimizer)
        if type(state["updates"]) is not int or state["updates"] < 0:
            raise ValueError(f"its number of updates is {state['updates']!r}")
        own, rates = self.optimizer.defaults, self.schedule.base_lrs
        changed = {name: value for name, value in own.items() if value != state["settings"][name]}
        self.optimizer.load_state_dict(state["optimizer"])
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group.update(changed, initial_lr=rate)
        self.schedule = LambdaLR(self.optimizer, self.factor, state["updates"] - 1)
        self.ema.updates = state["updates"]

    def unsynchronized(self) -> Any:
        """Gradients stay this process's own: they are averaged once, with the last part's."""
        return self.wrapped.no_sync() if isinstance(self.wrapped, DistributedDataParallel) else nullcontext()


def check_process_is_fixed(noise: Noise, graph: Graph) -> None:
    """Refuse trainable parameters of the forward process, for which this loss has no exact gradient.

    The expectation of the loss is over x ~ q_sigma(t)(. | x0), a law that depends on these parameters as well;
    backpropagation sees only sigma and the weight (tests/test_training.py enumerates the difference).

    Raises:
        UserError: The noise or the graph has a parameter that requires a gradient.
    """
    for stage, part in (("noise", noise), ("graph", graph)):
        trained = [name for name, parameter in part.named_parameters() if parameter.requires_grad]
        if trained:
            raise UserError(
                f"The {stage} {type(part).__name__} has trainable parameters ({', '.join(trained)}), which cannot be "
                "trained: the loss has no exact gradient for them, since the noised states that it averages over "
                "depend on them too. Make them constants: buffers, or parameters with requires_grad=False."
            )
