"""Times of contenders that take turns, peak memory in fresh processes, and their summaries."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

from sedd_core import UserError

P = ParamSpec("P")
T = TypeVar("T")
STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Measurement:
    """One quantity of one variant of a case: the median of its values, and what is around it."""

    variant: str
    """What was measured, such as "absorb fp32"."""
    quantity: str
    """Which quantity, such as "naive / ours"."""
    unit: str
    """Its unit; "x" for a ratio."""
    median: float
    """Median of the values."""
    lower: float
    """Lower quartile."""
    upper: float
    """Upper quartile."""
    values: tuple[float, ...]
    """All values, in the order in which they were measured."""


def summary(variant: str, quantity: str, unit: str, values: list[float]) -> Measurement:
    """Median and quartiles of values.

    Args:
        variant: What was measured.
        quantity: Which quantity.
        unit: Its unit.
        values: Its values, at least one.
    """
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return Measurement(variant, quantity, unit, median, lower, upper, tuple(values))


def interleaved(
    contenders: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, pause: float = 0.0
) -> dict[str, list[float]]:
    """Seconds of each contender in each round: they take turns, so that what disturbs one disturbs all.

    Args:
        contenders: Functions by name; each runs once before the clock starts.
        rounds: Number of timed rounds.
        device: Device to wait for, before and after each turn.
        pause: Seconds to sleep before each turn, for contenders whose workers go on after it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, function in contenders.items():
            time.sleep(pause)
            elapsed = clocked(function, device)
            if round_:
                seconds[name].append(elapsed)
    return seconds


def clocked(function: Callable[[], object], device: torch.device) -> float:
    """Seconds that a function takes, until the device has finished.

    Args:
        function: What to time.
        device: Device to wait for.
    """
    wait_for(device)
    started = time.perf_counter()
    function()
    wait_for(device)
    return time.perf_counter() - started


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compared(variant: str, seconds: Mapping[str, list[float]], over: Mapping[str, str]) -> list[Measurement]:
    """Seconds of all contenders, and ratios within each round.

    Args:
        variant: What was measured.
        seconds: Seconds by contender, from `interleaved`.
        over: Which contender is divided by which.
    """
    ratios = [
        summary(variant, f"{top} / {bottom}", "x", [a / b for a, b in zip(seconds[top], seconds[bottom], strict=True)])
        for top, bottom in over.items()
    ]
    return [*ratios, *(summary(variant, name, "s", values) for name, values in seconds.items())]


def in_fresh_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function of a module returns in a process of its own.

    Args:
        function: Function at the top level of a module.
        args: Its arguments, which are pickled.
        kwargs: Its named arguments.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def peak_bytes(function: Callable[[], object], device: torch.device) -> int:
    """Largest number of bytes that a function holds at once, above what the process held before.

    On a CPU, resident memory: the kernel's high-water mark, which is set back first.

    Args:
        function: What to measure.
        device: Device whose memory counts.

    Raises:
        UserError: The system does not say what a process holds.
    """
    before = held_bytes(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        function()
        wait_for(device)
        return torch.cuda.max_memory_allocated(device) - before
    REFERENCES.write_text("5")  # sets VmHWM back to VmRSS
    function()
    return _status("VmHWM") - before


def held_bytes(device: torch.device) -> int:
    """Number of bytes that this process holds: tensors on a GPU, or resident memory on a CPU.

    Args:
        device: Device whose memory counts.

    Raises:
        UserError: The system does not say what a process holds.
    """
    if device.type == "cuda":
        wait_for(device)
        return torch.cuda.memory_allocated(device)
    if not REFERENCES.exists():
        raise UserError("Memory on a CPU is read from /proc (Linux). Name other cases than head_memory and published.")
    return _status("VmRSS")


def _status(name: str) -> int:
    """A size in bytes that the kernel states for this process."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[name].split()[0]) * 1024
