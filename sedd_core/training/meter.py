"""Training figures, summed between two lines of the log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ..maths.draws import Draws
from ..maths.numerics import LN2
from ..model.operations import share_in_loss, training_operations
from ..record.upgrade import with_new_names
from ..stages import Backbone
from .batches import TIME_BINS
from .cards import peak_of
from .state import same_structure
from .trainer import StepResult, Trainer

STATE = (
    *("updates", "clipped", "grad_norm", "loss_by_time_bin", "tokens_by_time_bin"),
    *("skipped", "in_a_row", "left_out"),
)
"""Attributes of a meter that a checkpoint stores."""


class Meter:
    """Sums over the updates since the last line of the log, and the figures computed from them.

    Args:
        trainer: The trainer whose updates are added.
        length: Tokens per sequence.
        tokens_per_character: Mean tokens per character of the training text; 0 if tokens have no characters.
    """

    def __init__(self, trainer: Trainer, length: int, tokens_per_character: float) -> None:
        self.trainer, self.length, self.tokens_per_character = trainer, length, tokens_per_character
        self.flops = flops_per_token(trainer, length)
        self.skipped = self.in_a_row = 0
        self.clear()

    def clear(self) -> None:
        """Reset the sums since the last line; the total of skipped updates is kept."""
        self.steps = self.updates = self.clipped = self.left_out = 0
        self.grad_norm = self.data_seconds = 0.0
        self.loss_by_time_bin, self.tokens_by_time_bin = [0.0] * TIME_BINS, [0.0] * TIME_BINS
        self.since = time.monotonic()

    def add(self, result: StepResult) -> None:
        """Add an update; a skipped one only increases the counts of skipped updates.

        Args:
            result: Statistics of the update.
        """
        self.steps += 1
        self.data_seconds += result.data_seconds
        self.in_a_row = 0 if result.updated else self.in_a_row + 1
        if not result.updated:
            self.skipped += 1
            self.left_out += 1
            return
        self.updates += 1
        self.grad_norm += result.grad_norm
        self.clipped += result.grad_norm > self.trainer.clip
        self.loss_by_time_bin = [a + b for a, b in zip(self.loss_by_time_bin, result.loss_by_time_bin, strict=True)]
        self.tokens_by_time_bin = [
            a + b for a, b in zip(self.tokens_by_time_bin, result.tokens_by_time_bin, strict=True)
        ]

    def mean_loss(self) -> float | None:
        """Mean loss in nats per token since the last line; None without an update."""
        return sum(self.loss_by_time_bin) / max(sum(self.tokens_by_time_bin), 1.0) if self.updates else None

    def figures(self) -> dict[str, float]:
        """The figures since the last line, by chart name."""
        seconds = time.monotonic() - self.since
        speed = self.trainer.training.batch_size * self.length * self.steps / seconds
        figures = {
            **self._update_figures(),
            "train/lr": self.trainer.schedule.get_last_lr()[0],
            "train/ema_distance": self.trainer.ema.distance(),
            "train/skipped": float(self.skipped),
            **({"train/skipped_share": self.left_out / (self.updates + self.left_out)} if self.left_out else {}),
            "train_speed/tokens_per_second": speed,
            "train_speed/data_wait": self.data_seconds / seconds,
            **_gpu_figures(self.trainer, speed * self.flops),
        }
        return figures | self._by_time() if self.trainer.timed else figures

    def _by_time(self) -> dict[str, float]:
        """Mean loss per token in each bin of diffusion time that has any."""
        figures = {}
        for time_bin, (loss, tokens) in enumerate(zip(self.loss_by_time_bin, self.tokens_by_time_bin, strict=True)):
            if tokens:
                start, end = time_bin / TIME_BINS, (time_bin + 1) / TIME_BINS
                figures[f"train_loss_by_time/{start:.1f}-{end:.1f}"] = loss / tokens
        return figures

    def _update_figures(self) -> dict[str, float]:
        """Means over the updates; empty without one."""
        loss = self.mean_loss()
        if loss is None:
            return {}
        return {
            "train/loss": loss,
            **self._per_character(loss),
            "train/grad_norm": self.grad_norm / self.updates,
            "train/clipped": self.clipped / self.updates,
        }

    def _per_character(self, loss: float) -> dict[str, float]:
        """Empty if tokens have no characters, or if the loss is not the likelihood bound."""
        is_bound = self.trainer.objective.bound_factor(self.trainer.training.t_min) is not None
        per_character = self.tokens_per_character * is_bound
        return {"train/bits_per_character": loss * per_character / LN2} if per_character else {}

    def state(self) -> dict[str, Any]:
        """The sums, with which a resumed run logs the same lines as an uninterrupted one, except for speed."""
        return {name: getattr(self, name) for name in STATE}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: A value that `state` returned.

        Raises:
            ValueError: It is not a meter's state.
        """
        own, state = self.state(), with_new_names("Meter", state)
        if not set(state) <= set(own) or not same_structure(state, own):
            raise ValueError("it is not a meter's state")
        for name, value in state.items():
            setattr(self, name, value)


def flops_per_token(trainer: Trainer, length: int) -> float:
    """Count the operations of training per token, on one sequence.

    Args:
        trainer: The trainer of the network.
        length: Tokens per sequence.
    """
    indices = trainer.microbatches[0][:1]
    batch = trainer.batch(0, indices).to(trainer.device)
    x = trainer.model.graph.prior(Draws(trainer.seed, indices.to(trainer.device)), length)
    level = trainer.noise(torch.ones(1, dtype=torch.float64, device=trainer.device)).to(torch.float32)
    share = share_in_loss(trainer.model.graph, trainer.noise, trainer.device)
    eager = torch.compiler.set_stance("force_eager") if trainer.training.compile else nullcontext()
    with eager, _runnable(trainer) as network:  # compiled kernels would hide operations
        return training_operations(network, x, level, batch.cond, share)


@contextmanager
def _runnable(trainer: Trainer) -> Iterator[Backbone]:
    """Within: a network of the trainer's shapes that one process can run; of a divided one, a copy without values."""
    network = trainer.parallel.evaluated.backbone
    if not trainer.parallel.sharded:
        yield network
        return
    copy = deepcopy(network)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield copy.to_empty(device=trainer.world.device)


def _gpu_figures(trainer: Trainer, flops: float) -> dict[str, float]:
    """Peak memory, and the share of the GPUs' peak operations per second that is used; empty on a CPU."""
    if trainer.device.type != "cuda":
        return {}
    figures = {"train_speed/memory_gib": torch.cuda.max_memory_allocated() / 2**30}
    peak = peak_of(torch.cuda.get_device_name())
    if peak:
        figures["train_speed/flop_utilization"] = flops / (peak * trainer.world.size)
    return figures
