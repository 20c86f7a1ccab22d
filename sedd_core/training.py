"""One training step, and the pieces it is made of."""

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

from .distributed import World
from .draws import Draws, key, permutation
from .ema import EMA
from .errors import UserError
from .numerics import float64_device, to_float64
from .objective import ScoreEntropy
from .resumed import check_optimizer_state
from .runs.settings import Optimizer, Training
from .score import ScoreModel
from .stages import Graph, Noise, Sequences
from .stages.data import noised

LEVELS = 10
"""Equal parts of the time, whose mean losses are told apart."""
MOST_PIECES = 4096
"""Up to which the ways to divide a batch are listed."""


@dataclass
class StepResult:
    """What one update saw, over all processes.

    loss: nats a sequence. grad_norm: before clipping. by_time [LEVELS]: sums of the losses of sequences by their
    time's part, in nats; tokens [LEVELS]: how many tokens of theirs count. updated: False where loss or gradient was
    not finite, and the weights were left alone. waited: seconds for data, of this process. asked: some process was
    told to stop.
    """

    loss: float
    grad_norm: float
    by_time: list[float]
    tokens: list[float]
    updated: bool
    waited: float
    asked: bool


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
        self.ema = EMA(self.parameters, training.ema)
        self.order = Order(len(data), seed)
        self.parts = parts(training, self.world)
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
        sums = torch.zeros(1 + 2 * LEVELS, dtype=torch.float64, device=self.device)
        sums[0] = float(stop)
        order, waited = self.order.indices(step, self.training.batch_size), 0.0
        for number, indices in enumerate(self.parts):
            torch.manual_seed(key(self.seed, "dropout", step, self.world.rank, number))
            started = time.monotonic()
            batch = self.data.batch(order[indices]).to(self.device)
            waited += time.monotonic() - started
            draws = Draws(self.seed, indices.to(self.device), step)
            last = number == len(self.parts) - 1
            with self.unsynchronised() if not last else nullcontext():
                loss, losses, t = self.loss(batch.tokens, draws, batch.counts, batch.cond)
                (loss / len(self.parts)).backward()
            sums[1:] += by_time(t, torch.stack([losses.detach(), batch.in_text().sum(-1).double()])).flatten()
        return self.update(sums, waited)

    def loss(
        self, x0: Int64[Tensor, "B L"], draws: Draws, counts: Tensor | None, cond: Tensor | None
    ) -> tuple[Float64[Tensor, ""], Float64[Tensor, " B"], Float64[Tensor, " B"]]:
        """The loss of some sequences of a batch: its mean, each one's, and the times that were drawn."""
        t = times(draws, self.training)
        level = self.noise(t)
        x = noised(self.objective.model.graph.perturb(x0, level.sigma, draws), x0, counts)
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16):
            loss, losses = self.wrapped(x, x0, level, level.rate, counts, cond)
        return loss, losses, t

    def update(self, sums: Float64[Tensor, " N"], waited: float = 0.0) -> StepResult:
        """Clip, the optimizer with its schedule, average; nothing of it where a number is not finite.

        sums: of this process: whether to stop, losses by time, tokens by time.
        """
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        asked, *rest, grad_norm = torch.cat([self.world.sum(sums), to_float64(norm[None])]).tolist()
        losses, tokens = rest[:LEVELS], rest[LEVELS:]
        loss = sum(losses) / self.training.batch_size
        updated = math.isfinite(loss) and math.isfinite(grad_norm)
        if updated:
            self.optimizer.step()
            self.schedule.step()
            self.ema.update()
        return StepResult(loss, grad_norm, losses, tokens, updated, waited, asked > 0)

    def drawn(self, step: int) -> tuple[Int64[Tensor, "B L"], Float64[Tensor, " B"]]:
        """The tokens and times of this process's sequences at a step: they can be had again at any time."""
        indices = torch.cat(self.parts)
        batch = self.data.batch(self.order.indices(step, self.training.batch_size)[indices])
        return batch.tokens, times(Draws(self.seed, indices, step), self.training)

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

    def unsynchronised(self) -> Any:
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


def accumulation(training: Training, processes: int) -> int:
    """Parts in which each process takes its share of a batch: `accum`, or the fewest that `microbatch` allows."""
    share, rest = divmod(training.batch_size, processes)
    if training.microbatch is None or rest:  # a rest is refused by `check_parts`
        return training.accum
    most = training.microbatch
    return next(n for n in range(-(-share // most), share + 1) if share % n == 0)


def check_parts(training: Training, processes: int) -> None:
    """UserError when the batch cannot be divided among so many processes, and the parts of each."""
    size, accum = training.batch_size, accumulation(training, processes)
    if size % (processes * accum):
        divisors = ", ".join(str(n) for n in range(1, min(size, MOST_PIECES) + 1) if size % n == 0)
        raise UserError(
            f"training.batch_size={size} cannot be divided among {processes} processes in {accum} parts: "
            f"processes times training.accum must be one of {divisors}."
        )


def parts(training: Training, world: World) -> list[Int64[Tensor, " b"]]:
    """For each part of an update, which sequences of the global batch this process takes. Errors: `check_parts`.

    Every (processes x parts)-th: stratified times rise with the index, so that blocks of neighbours would give one
    process all the little noise, and the one for which all wait all the masks.
    """
    check_parts(training, world.size)
    return list(
        torch.arange(training.batch_size).view(-1, accumulation(training, world.size), world.size)[:, :, world.rank].T
    )


def times(draws: Draws, training: Training) -> Float64[Tensor, " B"]:
    """Times in (t_min, 1), one a sequence: independent, or one in each of B equal parts."""
    uniform = draws.uniform("time", 1)[:, 0]
    if training.times == "stratified":
        uniform = (draws.indices + uniform) / training.batch_size
    return training.t_min + (1 - training.t_min) * uniform


def by_time(t: Float64[Tensor, " B"], values: Float64[Tensor, "N B"]) -> Float64[Tensor, "N levels"]:
    """Sums of values of sequences by the part of the time that theirs lies in."""
    level = (t * LEVELS).long().clamp(max=LEVELS - 1)
    return values @ (level[:, None] == torch.arange(LEVELS, device=t.device)).double()


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
