"""The processes of a run: one per GPU, or one or more on CPUs.

torchrun, `launch.py` and srun (one task per GPU) set the ranks in the environment; without them there is one process.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import ReportedElsewhere, Stopped, UserError
from .rank import process_rank

T = TypeVar("T")
PATIENCE = timedelta(hours=24)
"""Time that processes wait for one that works alone: it tokenizes, counts n-grams, or writes to a slow disk."""


@dataclass(frozen=True)
class World:
    """This process among `size` processes: its rank and its device."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - a device is immutable
    waiting: dist.ProcessGroup | None = None
    """Group of all processes over gloo with PATIENCE, for objects and waits; None: the default group."""

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
        dist.all_gather_object(values, value, group=self.waiting)
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

    def in_turn(self, work: Callable[[], T]) -> T:
        """Run `work` in the first process of each machine, then in all others: the first makes what the others find.

        Args:
            work: Function to run.

        Returns:
            Result of this process.

        Raises:
            Exception: As `agree`.
        """
        first = process_rank().local_rank == 0
        early = self.agree(lambda: work() if first else None)
        late = self.agree(lambda: None if first else work())
        return cast(T, early if first else late)

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


def gpu_count() -> int:
    """Number of GPUs that this process can use: none where the driver is too old for this torch, which then warns."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def join() -> World:
    """Join the process group and wait for the other processes.

    Collectives of training have torch's timeouts: minutes, after which a process that hangs ends the run. Objects and
    waits go over a gloo group of their own, with PATIENCE: NCCL would give up while one process works alone.

    Raises:
        UserError: There are more processes than GPUs, or the address of the main process is not set.
    """
    rank, size, local = process_rank()
    device = own_device(local)
    if size == 1 or dist.is_initialized():
        return World(rank, size, device)
    if "RANK" not in os.environ:  # srun: the variables that torch reads
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(local))
    if "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ:
        raise UserError("MASTER_ADDR and MASTER_PORT are not set: start with --slurm, or with torchrun.")
    on_gpu = device.type == "cuda"
    dist.init_process_group("nccl" if on_gpu else "gloo", device_id=device if on_gpu else None)
    waiting = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=PATIENCE))
    world = World(rank, size, device, waiting)
    if on_gpu:
        check_devices_differ(world.gather((socket.gethostname(), str(torch.cuda.get_device_properties(device).uuid))))
    return world


def own_device(local: int) -> torch.device:
    """The device of this process, which becomes torch's current one.

    SLURM may show each task its own GPU alone (--gpus-per-task, --gpu-bind, --ntasks-per-gpu): that one has index 0.

    Args:
        local: Rank within the machine.

    Raises:
        UserError: This machine has fewer GPUs than processes.
    """
    gpus = gpu_count()
    if not gpus:
        return torch.device("cpu")
    index = 0 if gpus == 1 and "SLURM_PROCID" in os.environ else local
    if index >= gpus:
        raise UserError(f"This machine has {gpus} GPUs, and process {local} would need one more: start fewer.")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def check_devices_differ(devices: list[tuple[str, str]]) -> None:
    """Check that each process has a GPU of its own, which NCCL requires.

    Args:
        devices: Machine and GPU of each process, by rank.

    Raises:
        UserError: Two processes have the same one.
    """
    for rank, device in enumerate(devices):
        if device in devices[:rank]:
            raise UserError(
                f"Processes {devices.index(device)} and {rank} have the same GPU of {device[0]}: start one process "
                "per GPU (srun: --gpus-per-node and as many --ntasks-per-node, or --gpus-per-task=1)."
            )


def leave() -> None:
    """Leave the process group, so that the other processes do not wait for this one."""
    if dist.is_initialized():
        dist.destroy_process_group()
