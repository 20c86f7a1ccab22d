"""A training step of the published networks, absorb: tokens per second, share of peak operations, peak memory.

Beside the naive step, both as they are and with a compiled network. One after the other, since not all fit into a GPU
at once; what is out of memory is left out. The target is what the best public trainers reach on an H100.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import nn

from sedd_core import console
from sedd_core.model.memory import GIB, is_exhausted
from sedd_core.training.cards import peak_of
from sedd_core.training.meter import flops_per_token

from ..pairs import precisions
from ..timing import Measurement, clocked, compared, held_bytes, peak_bytes, summary
from . import train_step

TARGETS = {"small": 430e3, "medium": 165e3}
"""Tokens per second to reach on an H100 or H200, by network."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the case."""

    networks: Mapping[str, train_step.Sizes]
    """Networks and their batches, by name."""
    backend: str = ""
    """Backend of torch.compile; "": nothing is compiled."""
    warm_up: int = 1
    """Steps before the clock starts."""


SMALL = train_step.Sizes(batch=32, length=1024, width=768, blocks=12, rounds=20)
SIZES = {
    "full": Sizes({"width 256": replace(train_step.SIZES["full"], rounds=3)}),
    "quick": Sizes({"width 256": replace(train_step.SIZES["quick"], rounds=1)}),
    "tiny": Sizes({"small": train_step.SIZES["tiny"]}, backend="eager"),
    "cuda": Sizes(
        {"small": SMALL, "medium": replace(SMALL, batch=16, width=1024, blocks=24)}, backend="inductor", warm_up=4
    ),
}


def measure(sizes: Sizes, device: torch.device) -> list[Measurement]:
    """Rates, ratios and memory of each network, in bf16 where the device multiplies in it.

    Args:
        sizes: Sizes of the case.
        device: Device to measure on.
    """
    return [one for name, network in sizes.networks.items() for one in _network(name, network, sizes, device)]


def _network(name: str, network: train_step.Sizes, sizes: Sizes, device: torch.device) -> list[Measurement]:
    precision = precisions(device)[-1]
    variant, tokens = f"{name} {precision}", network.batch * network.length
    seconds: dict[str, list[float]] = {}
    found: list[Measurement] = []
    for backend in ("", sizes.backend) if sizes.backend else ("",):
        for contender in ("naive", "ours"):
            label = f"{contender} compiled" if backend else contender
            step = None  # what the last one holds is freed
            _free(device)
            try:
                step, flops = _contender(contender, precision, network, backend, device)
                for _ in range(sizes.warm_up):
                    step()
                seconds[label] = [clocked(step, device) for _ in range(network.rounds)]
                memory = (held_bytes(device) + peak_bytes(step, device)) / GIB
            except RuntimeError as error:
                if not is_exhausted(error):
                    raise
                console.say(f"published: {variant}, {label}: out of memory")
                continue
            rates = [tokens / value for value in seconds[label]]
            found += [
                summary(variant, f"{label}, rate", "tokens/s", rates),
                summary(variant, f"{label}, peak memory", "GiB", [memory]),
                *_utilization(variant, label, [rate * flops for rate in rates], device),
            ]
    over = {"naive": "ours", "naive compiled": "ours compiled"}
    over = {top: bottom for top, bottom in over.items() if {top, bottom} <= seconds.keys()}
    target = [summary(variant, "target", "tokens/s", [TARGETS[name]])] if name in TARGETS else []
    return [*compared(variant, seconds, over), *found, *target]


def _contender(
    name: str, precision: str, sizes: train_step.Sizes, backend: str, device: torch.device
) -> tuple[Callable[[], object], float]:
    """A step, and the operations of ours per token, by which both are measured."""
    tokens = torch.randint(sizes.vocab, (8 * sizes.batch, sizes.length))
    trainer = train_step.our_trainer("absorb", precision, sizes, tokens, device)
    flops = flops_per_token(trainer, sizes.length)
    network: nn.Module = trainer.model.backbone
    numbers = count()
    step: Callable[[], object] = lambda: trainer.step(next(numbers))  # noqa: E731
    if name == "naive":
        naive = train_step.naive_trainer("absorb", precision, sizes, tokens, device)
        step, network = naive.step, naive.model
    if backend:
        network.compile(backend=backend)
    return step, flops


def _utilization(variant: str, label: str, flops: list[float], device: torch.device) -> list[Measurement]:
    """Share of the peak operations per second of a GPU, in percent; none if it is not known."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    peak = peak_of(name)
    return [summary(variant, f"{label}, utilization", "%", [100 * one / peak for one in flops])] if peak else []


def _free(device: torch.device) -> None:
    gc.collect()
    torch.compiler.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
