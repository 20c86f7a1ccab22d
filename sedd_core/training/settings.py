"""Settings of a training run in groups, each checked when it is constructed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from ..maths.rounding import Storage
from ..record import open_recordable, recordable
from .compact_adamw import CompactAdamW
from .limits import check_at_least, require

LARGEST_FLOAT32 = torch.finfo(torch.float32).max


@open_recordable
@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """torch's AdamW with a linear warm-up and gradient clipping.

    For another optimizer or schedule, define a subclass in the experiment's file that overrides `make` or `factor`.
    """

    lr: float = 3e-4
    """Learning rate after the warm-up."""
    beta1: float = 0.9
    """AdamW decay rate of the first moment."""
    beta2: float = 0.999
    """AdamW decay rate of the second moment."""
    eps: float = 1e-8
    """Constant added to the denominator of AdamW's update."""
    weight_decay: float = 0.0
    """Decoupled weight decay, applied to all parameters."""
    warmup: int = 2500
    """Number of warm-up steps, over which the learning rate rises linearly from 0 to lr."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Learning-rate schedule after the warm-up: constant (as published), or cosine or linear decay to 0."""
    moments_dtype: Literal["fp32", "bf16"] = "fp32"
    """Dtype in which AdamW's moments are kept: fp32, or bf16, rounded at random, so that small changes add up."""
    moments_device: Literal["same", "cpu"] = "same"
    """Device on which AdamW's moments are kept: that of the weights, or the CPU."""
    clip: float = 1.0
    """Maximum gradient norm; larger gradients are scaled down to it."""

    def __post_init__(self) -> None:
        require(
            0 <= self.beta1 < 1 and 0 <= self.beta2 < 1,
            f"beta1 and beta2 must lie in [0, 1), not {self.beta1} and {self.beta2}",
        )
        largest = LARGEST_FLOAT32 * (1 - self.beta1)  # AdamW's first update takes lr / (1 - beta1), in float32
        require(0 < self.lr < largest, f"lr must lie between 0 and {largest:.2g}, not {self.lr}")
        require(self.eps > 0, f"eps must be positive, not {self.eps}")
        require(self.weight_decay >= 0, f"weight_decay must not be negative, not {self.weight_decay}")
        require(self.warmup >= 0, f"warmup must not be negative, not {self.warmup}")
        require(self.clip > 0, f"clip must be positive, not {self.clip}")

    def make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Construct torch's optimizer, with its fused kernel where it has one: one pass over the weights.

        Args:
            parameters: Parameters to train, all on one device.
        """
        settings: dict[str, Any] = dict(
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=parameters[0].device.type in ("cpu", "cuda") or None,
        )
        if self.storage.plain:
            return torch.optim.AdamW(parameters, **settings)
        return CompactAdamW(parameters, self.storage, **settings)

    @property
    def storage(self) -> Storage:
        """How the moments are kept."""
        return Storage(self.moments_dtype, self.moments_device)

    def factor(self, step: int, steps: int) -> float:
        """Compute the factor by which lr is multiplied.

        Args:
            step: Index of the update, from 0.
            steps: Number of updates of the run.
        """
        done = min(step / steps, 1.0)
        decay = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
        return min((step + 1) / max(self.warmup, 1), 1.0) * decay[self.schedule]


@recordable
@dataclass(frozen=True, kw_only=True)
class Training:
    """Length, batches and numerics of training."""

    steps: int
    """Number of updates."""
    batch_size: int
    """Sequences per update, over all processes."""
    accum: int = 1
    """Gradient-accumulation steps per update: the same update from less memory, except for dropout masks."""
    microbatch: int | None = None
    """Largest number of sequences per process in one forward and backward pass, which sets accum (None: accum)."""
    times: Literal["stratified", "iid"] = "stratified"
    """Diffusion times of a batch: one in each of batch_size equal parts of (t_min, 1), or iid (as published)."""
    label_dropout: float = 0.0
    """Probability that a sequence is trained without its condition, for classifier-free guidance in sampling."""
    t_min: float = 1e-3
    """Smallest diffusion time of training and validation."""
    ema_decay: float = 0.9999
    """Largest decay of the exponential moving average of the weights."""
    ema_dtype: Literal["fp32", "bf16"] = "fp32"
    """Dtype in which the average is kept: fp32, or bf16, rounded at random, so that small changes add up."""
    ema_device: Literal["same", "cpu"] = "same"
    """Device on which the average is kept: that of the weights, or the CPU."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the network: bf16 (autocast, with float32 sums), fp32, or auto: bf16 on a GPU of compute capability
    8.0 or above, fp32 elsewhere."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What several processes divide: the batch alone (ddp), or also weights, gradients, moments and average (fsdp)."""
    deterministic: bool = False
    """Whether a GPU computes each update with deterministic kernels, slower, so that a run can be repeated bit for bit;
    a CPU always does."""
    compile: bool = False
    """Whether the network is compiled by torch.compile."""
    log_every: int = 50
    """Number of steps between lines of the log."""
    eval_every: int = 0
    """Number of steps between evaluations (validation and samples); 0: only at the end."""
    bad_steps: int = 10
    """Number of consecutive updates with a non-finite loss or gradient after which the run stops."""
    profile: tuple[int, int] | None = None
    """First and last step (from 1) of a trace with torch's profiler; None: no trace."""

    def __post_init__(self) -> None:
        check_at_least(1, steps=self.steps, batch_size=self.batch_size, accum=self.accum, log_every=self.log_every)
        check_at_least(1, microbatch=self.microbatch, bad_steps=self.bad_steps)
        require(
            self.microbatch is None or self.accum == 1,
            f"microbatch={self.microbatch} and accum={self.accum} both set the gradient accumulation: leave one at "
            "its default (microbatch=None or accum=1)",
        )
        require(self.parallel in ("ddp", "fsdp"), f"parallel must be 'ddp' or 'fsdp', not '{self.parallel}'")
        require(self.times in ("stratified", "iid"), f"times must be 'stratified' or 'iid', not '{self.times}'")
        require(0 < self.t_min < 1, f"t_min must lie between 0 and 1, not {self.t_min}")
        require(0 <= self.label_dropout < 1, f"label_dropout must lie in [0, 1), not {self.label_dropout}")
        require(0 <= self.ema_decay < 1, f"ema_decay must lie in [0, 1), not {self.ema_decay}")
        require(
            self.parallel == "ddp" or (self.ema_dtype, self.ema_device) == ("fp32", "same"),
            "parallel=fsdp divides the average: leave ema_dtype and ema_device at their defaults, or set parallel=ddp",
        )
        check_at_least(0, eval_every=self.eval_every)
        valid = self.profile is None or 1 <= self.profile[0] <= self.profile[1]
        require(valid, f"profile must be the first and the last step of a trace, such as (10, 12), not {self.profile}")

    @property
    def ema_storage(self) -> Storage:
        """How the average is kept."""
        return Storage(self.ema_dtype, self.ema_device)

    def shards(self, processes: int) -> bool:
        """Whether the weights are divided over the processes.

        Args:
            processes: Number of processes of the run.
        """
        return self.parallel == "fsdp" and processes > 1


@recordable
@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """When the run is saved; it is also saved at its end and when a signal stops it."""

    every: int = 0
    """Number of steps between checkpoints to resume from; 0: none."""
    keep: int = 2
    """Number of these checkpoints that are kept; older ones are removed."""
    milestone_every: int = 0
    """Number of steps between checkpoints that are never removed; 0: none."""

    def __post_init__(self) -> None:
        check_at_least(0, every=self.every, milestone_every=self.milestone_every)
        check_at_least(1, keep=self.keep)

    def due(self, step: int) -> bool:
        """Whether the run is saved after a step.

        Args:
            step: Number of updates done.
        """
        return any(every and step % every == 0 for every in (self.every, self.milestone_every))

    def is_temporary(self, step: int) -> bool:
        """Whether the checkpoint of a step is removed once newer ones exist.

        Args:
            step: Number of updates done when it was saved.
        """
        return not (self.milestone_every and step % self.milestone_every == 0)


@recordable
@dataclass(frozen=True, kw_only=True)
class Samples:
    """Samples drawn during and after training."""

    count: int = 4
    """Number of samples."""
    steps: int = 128
    """Number of sampling steps (one network call each)."""
    t_min: float = 1e-5
    """Diffusion time at which the last sampling step ends, before the final denoising."""

    def __post_init__(self) -> None:
        check_at_least(0, count=self.count)
        check_at_least(1, steps=self.steps)
        require(0 < self.t_min < 1, f"t_min must lie between 0 and 1, not {self.t_min}")
