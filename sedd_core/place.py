"""Which process of a run this is."""

from __future__ import annotations

import os


def place() -> tuple[int, int, int]:
    """Rank, number of processes and rank within the machine, as torchrun or srun say them."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "RANK" not in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_PROCID" in os.environ:
        names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    rank, size, local = (int(os.environ.get(name, default)) for name, default in zip(names, (0, 1, 0), strict=True))
    return rank, size, local
