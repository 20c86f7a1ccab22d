"""Which process of a run this is."""

from __future__ import annotations

import os

from .errors import UserError


def place() -> tuple[int, int, int]:
    """Rank, number of processes and rank within the machine, as torchrun or srun say them.

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
    return rank, size, local


def number_in(variable: str, default: int) -> int:
    """The integer in an environment variable, or the default where it is not set. UserError for anything else."""
    text = os.environ.get(variable, str(default))
    try:
        return int(text)
    except ValueError as error:
        raise UserError(f"{variable}={text!r} in the environment is not an integer. {_REMEDY}") from error


_REMEDY = "Start with launch.py, --slurm, torchrun or srun, which set these variables; or unset them."
