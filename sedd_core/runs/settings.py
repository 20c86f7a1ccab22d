"""Groups of a run's settings, each checked when it is made."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from ..record import open_recordable, recordable

LARGEST_FLOAT32 = torch.finfo(torch.float32).max


def check_seed(seed: int) -> None:
    """ValueError for a seed that torch cannot take."""
    _check(0 <= seed < 2**63, f"seed must lie between 0 and 2^63 - 1, not {seed}")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@open_recordable
class Optimizer:
    """torch's AdamW, with a linear warm-up and gradient clipping.

    lr: learning rate after warm-up. beta1, beta2: how much of the moments is kept in a step. eps: what is added to
    their ratio's denominator. weight_decay: of every weight, decoupled. warmup: steps of a linear rise to lr.
    schedule: what follows: "constant" (as published), or down to zero at the run's last step by a "cosine" or a
    "linear" fall. clip: largest gradient norm.

    Another optimizer or schedule is a subclass in the experiment's file, with a `make` or a `factor` of its own.
    """

    def __init__(
        self,
        *,
        lr: float = 3e-4,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup: int = 2500,
        schedule: Literal["constant", "cosine", "linear"] = "constant",
        clip: float = 1.0,
    ) -> None:
        _check(0 <= beta1 < 1 and 0 <= beta2 < 1, f"betas must lie in [0, 1), not {beta1}, {beta2}")
        largest = LARGEST_FLOAT32 * (1 - beta1)  # AdamW's first update takes lr / (1 - beta1), in float32
        _check(0 < lr < largest, f"lr must lie between 0 and {largest:.2g}, not {lr}")
        _check(eps > 0, f"eps must be positive, not {eps}")
        _check(weight_decay >= 0, f"weight_decay must not be negative, not {weight_decay}")
        _check(warmup >= 0, f"warmup must not be negative, not {warmup}")
        _check(clip > 0, f"clip must be positive, not {clip}")
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.weight_decay, self.warmup, self.schedule, self.clip = weight_decay, warmup, schedule, clip

    def make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's optimizer of these parameters; on a GPU its fused kernel."""
        return torch.optim.AdamW(
            parameters,
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=parameters[0].device.type == "cuda" or None,
        )

    def factor(self, step: int, steps: int) -> float:
        """What multiplies the learning rate at update `step` (from 0) of `steps`."""
        done = min(step / steps, 1.0)
        fall = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
        return min((step + 1) / max(self.warmup, 1), 1.0) * fall[self.schedule]


@recordable
class Training:
    """How long and on what.

    steps: updates. batch_size: sequences an update, over all processes. accum: parts in which each process takes its
    share of a batch, one after another: less memory, the same update but for dropout masks. microbatch: Most
    sequences per process in one forward and backward pass, from which the number of parts follows (None: it is
    accum). times: "stratified" (one in each of batch_size equal parts of (t_min, 1): the same expectation, less
    variance) or "iid" (as published). t_min: the smallest time trained on. ema: largest decay of the average of the
    weights. precision: "bf16" (autocast; sums stay in float32), "fp32", or "auto": bf16 on a GPU, fp32 on a CPU.
    compile: the network by torch.compile. log_every: steps between lines of the log. snapshot_every: steps between
    validations with samples (0: only at the end). bad_steps: after so many updates in a row whose loss or gradient is
    not finite, the run stops. profile: (first, last) steps of a trace by torch's profiler.
    """

    def __init__(
        self,
        *,
        steps: int,
        batch_size: int,
        accum: int = 1,
        microbatch: int | None = None,
        times: Literal["stratified", "iid"] = "stratified",
        t_min: float = 1e-3,
        ema: float = 0.9999,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        compile: bool = False,
        log_every: int = 50,
        snapshot_every: int = 0,
        bad_steps: int = 10,
        profile: tuple[int, int] | None = None,
    ) -> None:
        counts = {"steps": steps, "batch_size": batch_size, "accum": accum, "log_every": log_every}
        for name, value in {**counts, "microbatch": microbatch, "bad_steps": bad_steps}.items():
            _check(value is None or value >= 1, f"{name} must be at least 1, not {value}")
        _check(
            microbatch is None or accum == 1,
            f"microbatch={microbatch} and accum={accum} both state the parts of a batch: leave one at its default "
            "(microbatch=None or accum=1)",
        )
        _check(times in ("stratified", "iid"), f"times must be 'stratified' or 'iid', not '{times}'")
        _check(0 < t_min < 1, f"t_min must lie between 0 and 1, not {t_min}")
        _check(0 <= ema < 1, f"ema must lie in [0, 1), not {ema}")
        _check(snapshot_every >= 0, f"snapshot_every must not be negative, not {snapshot_every}")
        _check(profile is None or 1 <= profile[0] <= profile[1], f"profile must be two rising steps, not {profile}")
        self.steps, self.batch_size, self.accum, self.microbatch = steps, batch_size, accum, microbatch
        self.times, self.t_min, self.ema, self.precision, self.compile = times, t_min, ema, precision, compile
        self.log_every, self.snapshot_every = log_every, snapshot_every
        self.bad_steps, self.profile = bad_steps, profile


@recordable
class Checkpoints:
    """When the run is saved; also at its end, and when it is told to stop.

    every: steps between checkpoints to resume from (0: none). keep: how many of those are kept, the newest.
    milestone_every: steps between checkpoints that are kept for good (0: none).
    """

    def __init__(self, *, every: int = 0, keep: int = 2, milestone_every: int = 0) -> None:
        _check(every >= 0, f"every must not be negative, not {every}")
        _check(keep >= 1, f"keep must be at least 1, not {keep}")
        _check(milestone_every >= 0, f"milestone_every must not be negative, not {milestone_every}")
        self.every, self.keep, self.milestone_every = every, keep, milestone_every

    def due(self, step: int) -> bool:
        """Whether to save after this many steps."""
        return any(every and step % every == 0 for every in (self.every, self.milestone_every))

    def passing(self, step: int) -> bool:
        """Whether the checkpoint of this step is given up once newer ones are there."""
        return not (self.milestone_every and step % self.milestone_every == 0)


@recordable
class Validation:
    """The likelihood bound, in snapshots and after training.

    sequences: how many, spread evenly over the validation split, always the same. points: noise levels drawn for
    each. batch_size: sequences a network call. references: print character n-grams on the same sequences beside it.
    """

    def __init__(
        self, *, sequences: int = 256, points: int = 16, batch_size: int = 32, references: bool = False
    ) -> None:
        _check(sequences >= 2, f"sequences must be at least 2 (for an error bar), not {sequences}")
        _check(points >= 1, f"points must be at least 1, not {points}")
        _check(batch_size >= 1, f"batch_size must be at least 1, not {batch_size}")
        self.sequences, self.points, self.batch_size, self.references = sequences, points, batch_size, references


@recordable
class Samples:
    """Samples drawn in snapshots and after training.

    count: how many. steps: of the sampler. t_min: where its last step ends, before denoising.
    """

    def __init__(self, *, count: int = 4, steps: int = 128, t_min: float = 1e-5) -> None:
        _check(count >= 0, f"count must not be negative, not {count}")
        _check(steps >= 1, f"steps must be at least 1, not {steps}")
        _check(0 < t_min < 1, f"t_min must lie between 0 and 1, not {t_min}")
        self.count, self.steps, self.t_min = count, steps, t_min
