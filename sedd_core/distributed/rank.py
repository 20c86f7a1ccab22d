"""Which process of a run this is."""

from __future__ import annotations

import os
import signal
import sys
from typing import NamedTuple

from ..errors import UserError

LAUNCHER = "sedd-"
"""What the elastic launcher's run id starts with where `launch.py` is the launcher; its process id follows."""


class ProcessRank(NamedTuple):
    """This process among those of a run: its rank, their number, and its rank within the machine."""

    rank: int
    world_size: int
    local_rank: int


def process_rank() -> ProcessRank:
    """The rank of this process, as torchrun or srun state it in the environment; 0 of 1 without them.

    Raises:
        UserError: The environment says what cannot be: no number, or a rank beyond the number of processes.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "RANK" not in os.environ and "SLURM_PROCID" in os.environ and number_in("SLURM_NTASKS", 1) > 1:
        names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    rank, size, local = (number_in(name, default) for name, default in zip(names, (0, 1, 0), strict=True))
    if size < 1 or not 0 <= rank < size or local < 0:
        raise UserError(
            f"{names[0]}={rank}, {names[1]}={size} and {names[2]}={local} in the environment describe no process: "
            f"ranks count from 0 and stay below the number of processes. {_REMEDY}"
        )
    return ProcessRank(rank, size, local)


def number_in(variable: str, default: int) -> int:
    """The integer in an environment variable, or the default where it is not set. UserError for anything else."""
    text = os.environ.get(variable, str(default))
    try:
        return int(text)
    except ValueError as error:
        raise UserError(f"{variable}={text!r} in the environment is not an integer. {_REMEDY}") from error


_REMEDY = "Start with launch.py, --slurm, torchrun or srun, which set these variables; or unset them."


def prints_shared_messages() -> bool:
    """Whether this process is the one that says what all find alike: else `launch.py` or process 0 has said it."""
    return process_rank().rank == 0 and not os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(LAUNCHER)


def end_with_launcher() -> None:
    """Let the kernel send SIGTERM to this process when the `launch.py` that started it dies, however it dies.

    Else the processes of a launcher that was killed train on, unseen. On Linux; elsewhere, and for processes of
    another launcher (torchrun, srun), nothing happens.

    SIGTERM, not SIGKILL: a training run then saves as on any request to stop, so that the death of a launcher costs
    no step; whoever does not listen yet, or has nothing to save, ends at once by the signal's own action. A process
    that is waiting for another, dead one is beyond Python's handlers, but that waiting has a timeout of its own.
    """
    launcher = os.environ.get("TORCHELASTIC_RUN_ID", "")
    if sys.platform != "linux" or not launcher.startswith(LAUNCHER):
        return
    import ctypes

    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(launcher.removeprefix(LAUNCHER)):  # it died before the kernel was asked
        os.kill(os.getpid(), signal.SIGTERM)
