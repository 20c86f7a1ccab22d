"""One training step: sample times and noised sequences, backpropagate the loss, update weights and average."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR

from ..distributed.sharding import whole
from ..distributed.world import World
from ..maths.draws import Draws, key
from ..maths.numerics import float64_device, runs_in_bf16, to_float64
from ..model.ema import EMA
from ..model.score import ScoreModel
from ..stages import Batch, Noise, Objective, Sequences
from .batches import TIME_BINS, ShuffledIndices, draws_of, drop_labels, loss_by_time_bin, microbatches
from .loss import check_process_is_fixed
from .parallel import ParallelModel
from .prefetch import Prefetch
from .settings import Optimizer, Training
from .state import check_optimizer_state


@dataclass
class StepResult:
    """Statistics of one update, over all processes."""

    loss: float
    """Mean loss per sequence, in nats; the log shows nats per token (`Meter.mean_loss`)."""
    grad_norm: float
    """Gradient norm before clipping."""
    loss_by_time_bin: list[float]
    """Sum of the losses of the sequences whose time lies in each of TIME_BINS equal bins, in nats; without
    times, all are in the first bin."""
    tokens_by_time_bin: list[float]
    """Number of tokens, without padding, of the sequences in each bin."""
    updated: bool
    """Whether the weights were updated; False if the loss or the gradient is not finite."""
    data_seconds: float
    """Seconds that this process waited for data."""
    stop_requested: bool
    """Whether a signal requested any process to stop."""


class Trainer:
    """Trains a model on sequences. Every draw of step s is a function of (seed, s, index in the global batch).

    Only dropout masks depend on how the batch is divided: they are functions of (seed, s, process, microbatch).

    Args:
        model: Score model to train.
        noise: Noise schedule, without trainable parameters.
        objective: Training objective.
        data: Training sequences.
        optimizer: Optimizer settings and learning-rate schedule.
        training: Batch, time and precision settings.
        seed: Random seed of the run.
        world: Processes of the run; None for a single process on the model's device.

    Raises:
        UserError: The noise or the graph has trainable parameters, or the batch cannot be divided.
    """

    def __init__(
        self,
        model: ScoreModel,
        noise: Noise,
        objective: Objective,
        data: Sequences,
        optimizer: Optimizer,
        training: Training,
        seed: int,
        world: World | None = None,
    ) -> None:
        check_process_is_fixed(noise, model.graph)
        self.world = world or World(device=next(model.parameters()).device)
        self.noise = noise
        self.objective = objective
        self.data = data
        self.training = training
        self.seed = seed
        self.bf16 = runs_in_bf16(training.precision, self.world.device)
        self.parallel = ParallelModel(model, noise, objective, training, self.world, self.bf16)
        self.model, self.loss = self.parallel.model, self.parallel.loss
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.clip = optimizer.clip
        self.optimizer = optimizer.make(self.parameters)
        self.factor = lambda step: optimizer.factor(step, training.steps)
        self.schedule = LambdaLR(self.optimizer, self.factor)
        self.ema = EMA(self.parameters, training.ema_decay, training.ema_storage, seed)
        self.shuffled = ShuffledIndices(len(data), seed)
        self.microbatches = microbatches(training, self.world)
        self._fetch = self._read

    @property
    def device(self) -> torch.device:
        """Device of data, draws and noise levels: the network's, or the CPU if that one has no float64."""
        return float64_device(self.world.device)

    @property
    def timed(self) -> bool:
        """Whether the objective noises each sequence to one time, by which its loss is reported."""
        return self.objective.times(Draws(self.seed, torch.arange(1)), self.training.t_min) is not None

    def step(self, step: int, stop_requested: bool = False) -> StepResult:
        """Perform one update: accumulate the gradient over the microbatches, then `update`.

        Args:
            step: Index of the step, from 0.
            stop_requested: Whether a signal requested this process to stop; shared with all processes.
        """
        self.optimizer.zero_grad()
        stats = torch.zeros(2, TIME_BINS, dtype=torch.float64, device=self.device)
        data_seconds = 0.0
        for number, indices in enumerate(self.microbatches):
            torch.manual_seed(key(self.seed, "dropout", step, self.world.rank, number))
            started = time.monotonic()
            batch = self._fetch(step, number).to(self.device)
            data_seconds += time.monotonic() - started
            draws = draws_of(self.training, self.seed, indices.to(self.device, non_blocking=True), step)
            last = number == len(self.microbatches) - 1
            with nullcontext() if last else self.unsynchronized():
                loss, losses = self.forward(batch, draws, self.training.t_min)
                (loss / len(self.microbatches)).backward()
            t, tokens = self.objective.times(draws, self.training.t_min), batch.full_text_mask().sum(-1)
            stats += loss_by_time_bin(t, torch.stack([losses.detach().double(), tokens.double()]))
        return self.update(stats, stop_requested, data_seconds)

    def forward(self, batch: Batch, draws: Draws, t_min: float) -> tuple[Float[Tensor, ""], Float[Tensor, " B"]]:
        """Estimate the objective in the precision of training: its mean, and the loss of each sequence [B], in nats.

        Args:
            batch: Clean sequences.
            draws: Random numbers of these sequences at this step.
            t_min: Smallest diffusion time.
        """
        if self.training.label_dropout:
            batch = drop_labels(batch, draws, self.training.label_dropout, self.model.backbone)
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16):
            return self.loss(batch, draws, t_min)

    def update(
        self, stats: Float64[Tensor, "2 bins"], stop_requested: bool = False, data_seconds: float = 0.0
    ) -> StepResult:
        """Clip the gradient, update the weights, the learning rate and the average; skip all if not finite.

        Args:
            stats: Losses in nats and tokens of this process's sequences, summed per time bin [2, TIME_BINS].
            stop_requested: Whether a signal requested this process to stop.
            data_seconds: Seconds that this process waited for data.
        """
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        norm = whole(norm)
        nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm)
        sums = self.world.sum(torch.cat([stats.new_full((1,), float(stop_requested)), stats.flatten()]))
        stop_requests, *by_bin, grad_norm = torch.cat([sums, to_float64(norm[None])]).tolist()
        losses, tokens = by_bin[:TIME_BINS], by_bin[TIME_BINS:]
        loss = sum(losses) / self.training.batch_size
        updated = math.isfinite(loss) and math.isfinite(grad_norm)
        if updated:
            self.optimizer.step()
            self.schedule.step()
            self.ema.update()
        return StepResult(loss, grad_norm, losses, tokens, updated, data_seconds, stop_requests > 0)

    def batch(self, step: int, indices: Int64[Tensor, " b"]) -> Batch:
        """Read the sequences at these indices [b] of a step's global batch, on the CPU."""
        return self.data.batch(self.shuffled.indices(step, self.training.batch_size)[indices])

    @contextmanager
    def reading_ahead(self) -> Iterator[None]:
        """Within: a thread reads the microbatches of coming steps, up to the last one, while the current one trains."""
        with Prefetch(self._read, len(self.microbatches), self.training.steps, self.device) as prefetch:
            self._fetch = prefetch.take
            try:
                yield
            finally:
                self._fetch = self._read

    def _read(self, step: int, number: int) -> Batch:
        return self.batch(step, self.microbatches[number])

    def batch_at(self, step: int) -> tuple[Int64[Tensor, "B L"], Float64[Tensor, " B"] | None]:
        """Reproduce the tokens [B, L] and times [B], if it has any, of this process's sequences at any step."""
        indices = torch.cat(self.microbatches)
        draws = draws_of(self.training, self.seed, indices, step)
        return self.batch(step, indices).tokens, self.objective.times(draws, self.training.t_min)

    def state(self) -> dict[str, Any]:
        """What resuming needs besides weights and averages: everything else is a function of the step."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "settings": self.optimizer.defaults,
            "updates": self.ema.updates,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a state; optimizer settings that have changed since take their new values.

        Args:
            state: A value that `state` returned.

        Raises:
            Exception: The state is of another optimizer, or damaged: KeyError, ValueError, or another error of Python
                or torch.
        """
        check_optimizer_state(state["optimizer"], self.optimizer)
        if type(state["updates"]) is not int or state["updates"] < 0:
            raise ValueError(f"its number of updates is {state['updates']!r}")
        settings, rates = self.optimizer.defaults, self.schedule.base_lrs
        changed = {name: value for name, value in settings.items() if value != state["settings"][name]}
        stored = state["optimizer"]  # new settings first: a fused AdamW has its step counts on the parameters' device
        groups = zip(stored["param_groups"], rates, strict=True)
        groups = [{**group, **changed, "initial_lr": rate} for group, rate in groups]
        self.optimizer.load_state_dict({**stored, "param_groups": groups})
        self.schedule = LambdaLR(self.optimizer, self.factor, state["updates"] - 1)
        self.ema.updates = state["updates"]

    def averaged(self) -> AbstractContextManager[None]:
        """Within: the `evaluated` model has the averaged weights, whole. All processes enter it."""
        return self.parallel.averaged(self.ema)

    def unsynchronized(self) -> Any:
        """Within: gradients stay local; the last microbatch of an update averages them over the processes."""
        return self.loss.no_sync() if isinstance(self.loss, DistributedDataParallel) else nullcontext()
