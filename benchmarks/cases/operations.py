"""The ten operations of a training step, absorb, that take most of its time, by torch's profiler."""

from __future__ import annotations

from itertools import count

import torch
from torch.profiler import ProfilerActivity, profile

from ..pairs import precisions
from ..timing import Measurement, clocked, summary, wait_for
from . import train_step

SIZES = train_step.SIZES
LISTED, WIDEST = 10, 60
"""Number of operations, and characters of their names."""


def measure(sizes: train_step.Sizes, device: torch.device) -> list[Measurement]:
    """Milliseconds per step of kernels on a GPU, or of torch's operations on a CPU; and seconds of a step.

    Args:
        sizes: Sizes of the step.
        device: Device to measure on.
    """
    precision = precisions(device)[-1]
    tokens = torch.randint(sizes.vocab, (64 * sizes.batch, sizes.length))
    trainer, numbers = train_step.our_trainer("absorb", precision, sizes, tokens, device), count()
    trainer.step(next(numbers))
    seconds = [clocked(lambda: trainer.step(next(numbers)), device) for _ in range(sizes.rounds)]
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        trainer.step(next(numbers))
        wait_for(device)
    kind, attribute = ("CUDA", "self_device_time_total") if on_gpu else ("CPU", "self_cpu_time_total")
    times = [(getattr(one, attribute), one.key) for one in profiler.key_averages() if one.device_type.name == kind]
    return [
        summary(precision, "ours", "s", seconds),
        *(
            summary(f"{precision} {number}", name[:WIDEST], "ms per step", [microseconds / 1000])
            for number, (microseconds, name) in enumerate(sorted(times, reverse=True)[:LISTED], 1)
        ),
    ]
