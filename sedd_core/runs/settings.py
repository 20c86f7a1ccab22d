"""Groups of a run's settings, each checked when it is made."""

from __future__ import annotations

from typing import Literal


def check_seed(seed: int) -> None:
    """ValueError for a seed that torch cannot take."""
    _check(0 <= seed < 2**63, f"seed must lie between 0 and 2^63 - 1, not {seed}")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


class Optimizer:
    """AdamW with a linear warm-up and gradient clipping.

    lr: learning rate after warm-up. warmup: its steps. clip: largest gradient norm.
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
        clip: float = 1.0,
    ) -> None:
        _check(lr > 0, f"lr must be positive, not {lr}")
        _check(0 <= beta1 < 1 and 0 <= beta2 < 1, f"betas must lie in [0, 1), not {beta1}, {beta2}")
        _check(eps > 0, f"eps must be positive, not {eps}")
        _check(weight_decay >= 0, f"weight_decay must not be negative, not {weight_decay}")
        _check(warmup >= 0, f"warmup must not be negative, not {warmup}")
        _check(clip > 0, f"clip must be positive, not {clip}")
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.weight_decay, self.warmup, self.clip = weight_decay, warmup, clip


class Training:
    """How long and on what.

    steps: updates. batch_size: sequences an update. times: "stratified" (one in each of batch_size equal parts of
    (t_min, 1): the same expectation, less variance) or "iid" (as published). t_min: the smallest time trained on.
    ema: largest decay of the average of the weights. log_every, checkpoint_every: steps (0: only at the end).
    """

    def __init__(
        self,
        *,
        steps: int,
        batch_size: int,
        times: Literal["stratified", "iid"] = "stratified",
        t_min: float = 1e-3,
        ema: float = 0.9999,
        log_every: int = 50,
        checkpoint_every: int = 0,
    ) -> None:
        _check(steps >= 1, f"steps must be at least 1, not {steps}")
        _check(batch_size >= 1, f"batch_size must be at least 1, not {batch_size}")
        _check(times in ("stratified", "iid"), f"times must be 'stratified' or 'iid', not '{times}'")
        _check(0 < t_min < 1, f"t_min must lie between 0 and 1, not {t_min}")
        _check(0 <= ema < 1, f"ema must lie in [0, 1), not {ema}")
        _check(log_every >= 1, f"log_every must be at least 1, not {log_every}")
        _check(checkpoint_every >= 0, f"checkpoint_every must not be negative, not {checkpoint_every}")
        self.steps, self.batch_size, self.times, self.t_min, self.ema = steps, batch_size, times, t_min, ema
        self.log_every, self.checkpoint_every = log_every, checkpoint_every


class Validation:
    """The likelihood bound after training.

    sequences: of the validation split, the first ones. points: noise levels drawn for each. batch_size: sequences a
    network call. references: print character n-grams of the same split beside it.
    """

    def __init__(
        self, *, sequences: int = 256, points: int = 16, batch_size: int = 32, references: bool = False
    ) -> None:
        _check(sequences >= 2, f"sequences must be at least 2 (for an error bar), not {sequences}")
        _check(points >= 1, f"points must be at least 1, not {points}")
        _check(batch_size >= 1, f"batch_size must be at least 1, not {batch_size}")
        self.sequences, self.points, self.batch_size, self.references = sequences, points, batch_size, references


class Samples:
    """Samples drawn after training. steps: of the sampler. t_min: where its last step ends, before denoising."""

    def __init__(self, *, count: int = 4, steps: int = 128, t_min: float = 1e-5) -> None:
        _check(count >= 0, f"count must not be negative, not {count}")
        _check(steps >= 1, f"steps must be at least 1, not {steps}")
        _check(0 < t_min < 1, f"t_min must lie between 0 and 1, not {t_min}")
        self.count, self.steps, self.t_min = count, steps, t_min
