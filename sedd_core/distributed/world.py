"""The processes of a run: one a GPU, or one or more on CPUs. Each finds its place in the environment.

torchrun, `launch.py` itself and srun (one task a GPU) say the place; with none of them there is one process.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import ReportedElsewhere, Stopped, UserError
from .rank import process_rank

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among `size`: its rank, and the device that it computes on."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - a device is immutable

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def sum(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """In place, the sum over all processes, on each of them."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, thing: T) -> list[T]:
        """Every process's thing, by rank, on each of them."""
        if self.size == 1:
            return [thing]
        things: list[Any] = [None] * self.size
        dist.all_gather_object(things, thing)
        return things

    def agree(self, work: Callable[[], T]) -> T:
        """This process's result of `work`, once all have done theirs: what fails in one ends each, and none waits.

        Raises:
            Stopped: It was raised in one of them.
            UserError: In the main process, with the message of the first process that raised one; elsewhere `Told`.
            Exception: Any other, where it arose; elsewhere `Told`.
        """
        if self.size == 1:
            return work()
        result, own = None, None
        try:
            result = work()
        except Exception as error:
            own = error
        said = None if own is None else (f"{own}", isinstance(own, UserError), isinstance(own, Stopped))
        failures = [(rank, *failure) for rank, failure in enumerate(self.gather(said)) if failure is not None]
        errors = [failure for failure in failures if not failure[3]]
        if errors:
            rank, message, mistake, _ = errors[0]
            if own is not None and rank == self.rank:
                raise own
            raise UserError(message) if mistake and self.main else ReportedElsewhere(f"process {rank}: {message}")
        if failures:
            raise Stopped
        return cast(T, result)

    def share(self, count: int) -> Int64[Tensor, " n"]:
        """Which of `count` things are this process's: every size-th, so that none has more than one more."""
        return torch.arange(min(self.rank, count), count, self.size)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the processes in each backward pass."""
        if self.size == 1:
            return module
        with warnings.catch_warnings():  # buffers are constants; torch 2.13 renames the argument, 2.11 has it not
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)


def join() -> World:
    """Take this process's place, and wait for the others. UserError when there are more processes than GPUs."""
    rank, size, local = process_rank()
    gpus = torch.cuda.device_count()
    if gpus == 1 and "SLURM_GPUS_PER_TASK" in os.environ:  # each process sees its own
        local = 0
    if gpus and local >= gpus:
        raise UserError(f"This machine has {gpus} GPUs, and process {local} would need one more: start fewer.")
    device = torch.device("cuda", local) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    if size > 1 and not dist.is_initialized():
        if "RANK" not in os.environ:  # srun: the rest of what torch asks for
            os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(local))
        if "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ:
            raise UserError("MASTER_ADDR and MASTER_PORT are not set: start with --slurm, or with torchrun.")
        dist.init_process_group("nccl" if gpus else "gloo", device_id=device if gpus else None)
    return World(rank, size, device)


def leave() -> None:
    """Give the place back, so that the other processes are not left waiting."""
    if dist.is_initialized():
        dist.destroy_process_group()
