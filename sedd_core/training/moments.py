"""Optimizer states that are divided over processes, in a checkpoint that any number of processes can read.

torch.distributed.checkpoint writes them as safetensors: one file per process, read as data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..distributed.sharding import divided_like, is_divided
from ..distributed.world import World

DIVIDED = "divided"
"""What trainer.pt has in place of a divided tensor."""


def without_divided(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Take the divided tensors out of an optimizer's state.

    Args:
        state: The value of `Optimizer.state_dict`.

    Returns:
        The state with DIVIDED in their places, and the tensors by "parameter's index.name".
    """
    moments = {
        f"{index}.{name}": value
        for index, entry in state["state"].items()
        for name, value in entry.items()
        if isinstance(value, Tensor) and is_divided(value)
    }
    entries = {
        index: {name: DIVIDED if f"{index}.{name}" in moments else value for name, value in entry.items()}
        for index, entry in state["state"].items()
    }
    return {**state, "state": entries}, moments


def write_moments(folder: Path, moments: dict[str, Tensor], world: World) -> None:
    """Write divided tensors, each process its own parts. All processes call it, and all raise if one fails.

    Args:
        folder: Folder to write; it is created.
        moments: Divided tensors by name.
        world: Processes of the run.

    Raises:
        OSError: A process cannot write its file.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    writer = HuggingFaceStorageWriter(path=str(folder), save_distributed=True)
    try:
        save(dict(moments), storage_writer=writer, process_group=world.waiting)
    except CheckpointException as error:
        reason = next(iter(error.failures.values()))[0]
        raise OSError(f"{type(reason).__name__}: {reason}") from error


def read_state(state: Any, parameters: list[Tensor], folder: Path, world: World) -> Any:
    """Complete a stored optimizer state, with tensors divided as the parameters are. All processes call it.

    Args:
        state: Optimizer state of trainer.pt.
        parameters: Parameters of the optimizer, by index.
        folder: Folder of the divided tensors, which other numbers of processes may have written.
        world: Processes of the run.

    Raises:
        Exception: The state does not fit the parameters, or is damaged.
    """
    moments: dict[str, Tensor] = {}
    for index, entry in state["state"].items():
        for name, value in entry.items():
            like = parameters[index]
            if isinstance(value, str) and value == DIVIDED:
                entry[name] = moments[f"{index}.{name}"] = torch.zeros_like(like, requires_grad=False)
            elif isinstance(value, Tensor) and value.shape == like.shape:
                entry[name] = divided_like(value, like)
    if moments:
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
        from torch.distributed.checkpoint.state_dict_loader import load

        reader = HuggingFaceStorageReader(path=str(folder))
        load(moments, storage_reader=reader, process_group=world.waiting, no_dist=world.size == 1)
    return state
