"""The processes of a run: one per GPU, or one or more on CPUs.

torchrun, `launch.py` and srun (one task per GPU) set the ranks in the environment; without them there is one process.
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
    """This process among `size` processes: its rank and its device."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - a device is immutable

    @property
    def main(self) -> bool:
        """Whether this is rank 0, which writes files; `rank.prints_shared_messages` says which process prints."""
        return self.rank == 0

    def sum(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Sum over all processes, in place; every process gets the sum."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: T) -> list[T]:
        """Collect a value from every process, by rank; every process gets the list."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def agree(self, work: Callable[[], T]) -> T:
        """Run `work` in every process and wait for all; a failure in one ends all, so that none waits forever.

        Args:
            work: Function to run.

        Returns:
            Result of this process.

        Raises:
            Stopped: A process raised it, and none failed otherwise.
            UserError: In the main process, if the first failure, by rank, is a UserError anywhere.
            Exception: In the process of the first failure, if it is another exception, which is printed there.
            ReportedElsewhere: In all other processes; it is not printed.
        """
        if self.size == 1:
            return work()
        result, own = None, None
        try:
            result = work()
        except Exception as error:
            own = error
        failure = None if own is None else (f"{own}", isinstance(own, UserError), isinstance(own, Stopped))
        failures = [(rank, *one) for rank, one in enumerate(self.gather(failure)) if one is not None]
        errors = [one for one in failures if not one[3]]
        if errors:
            rank, message, mistake, _ = errors[0]
            if own is not None and rank == self.rank and (self.main or not mistake):
                raise own
            raise UserError(message) if mistake and self.main else ReportedElsewhere(f"process {rank}: {message}")
        if failures:
            raise Stopped
        return cast(T, result)

    def share(self, count: int) -> Int64[Tensor, " n"]:
        """Indices of `count` items that this process handles: every size-th, so that shares differ by one at most."""
        return torch.arange(min(self.rank, count), count, self.size)

    def wrap(self, module: nn.Module) -> nn.Module:
        """Wrap a module in DistributedDataParallel: each backward pass averages gradients over the processes."""
        if self.size == 1:
            return module
        # Buffers are constants. torch 2.13 renames the argument, and 2.11 lacks the new name.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)


def join() -> World:
    """Join the process group and wait for the other processes.

    Raises:
        UserError: There are more processes than GPUs, or the address of the main process is not set.
    """
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
        if "RANK" not in os.environ:  # srun: the variables that torch reads
            os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(local))
        if "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ:
            raise UserError("MASTER_ADDR and MASTER_PORT are not set: start with --slurm, or with torchrun.")
        dist.init_process_group("nccl" if gpus else "gloo", device_id=device if gpus else None)
    return World(rank, size, device)


def leave() -> None:
    """Leave the process group, so that the other processes do not wait for this one."""
    if dist.is_initialized():
        dist.destroy_process_group()
