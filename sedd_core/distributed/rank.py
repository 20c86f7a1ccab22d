"""Which process of a run this is."""

from __future__ import annotations

import os
import signal
import sys
from typing import NamedTuple

from ..errors import UserError

LAUNCHER = "sedd-"
"""Prefix of the elastic run id if `launch.py` is the launcher; the launcher's process id follows."""


class ProcessRank(NamedTuple):
    """Rank of this process, number of processes, and rank within the machine."""

    rank: int
    world_size: int
    local_rank: int


def process_rank() -> ProcessRank:
    """Read the rank of this process from the environment of torchrun or srun; without them, rank 0 of 1.

    Raises:
        UserError: A variable is not an integer, or the rank is not below the number of processes.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "RANK" not in os.environ and "SLURM_PROCID" in os.environ and number_in("SLURM_NTASKS", 1) > 1:
        names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    rank, size, local = (number_in(name, default) for name, default in zip(names, (0, 1, 0), strict=True))
    if size < 1 or not 0 <= rank < size or local < 0:
        raise UserError(
            f"{names[0]}={rank}, {names[1]}={size} and {names[2]}={local} in the environment are inconsistent: "
            f"ranks start at 0 and are below the number of processes. {_REMEDY}"
        )
    return ProcessRank(rank, size, local)


def number_in(variable: str, default: int) -> int:
    """Read an integer from an environment variable.

    Args:
        variable: Name of the environment variable.
        default: Value if it is not set.

    Raises:
        UserError: The value is not an integer.
    """
    text = os.environ.get(variable, str(default))
    try:
        return int(text)
    except ValueError as error:
        raise UserError(f"{variable}={text!r} in the environment is not an integer. {_REMEDY}") from error


_REMEDY = "Start with launch.py, --slurm, torchrun or srun, which set these variables; or unset them."


def prints_shared_messages() -> bool:
    """Whether this process prints messages that are the same in all; otherwise `launch.py` or rank 0 prints them."""
    return process_rank().rank == 0 and not os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(LAUNCHER)


def end_with_launcher() -> None:
    """Have the kernel send SIGTERM to this process when the `launch.py` that started it dies, even by SIGKILL.

    Otherwise the workers of a killed launcher keep training unnoticed. Linux only; no effect with other launchers
    (torchrun, srun).

    SIGTERM instead of SIGKILL: training saves as on any request to stop and loses no step; a process that does not
    handle signals yet exits at once. A process that waits for a dead one cannot run Python's handlers, but that wait
    has its own timeout.
    """
    launcher = os.environ.get("TORCHELASTIC_RUN_ID", "")
    if sys.platform != "linux" or not launcher.startswith(LAUNCHER):
        return
    import ctypes

    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(launcher.removeprefix(LAUNCHER)):  # the launcher died before the call above
        os.kill(os.getpid(), signal.SIGTERM)


def prepare_allocator() -> None:
    """Have torch's CUDA allocator grow its segments, against fragmentation, unless the user has set it otherwise.

    Call it before torch is imported; processes started from here inherit it.
    """
    if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:  # the older name of the variable
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
