"""A run folder of the original implementation: `.hydra/config.yaml` and `checkpoints-meta/checkpoint.pth`.

The latter is a pickle, which can hold code. It is read by torch's weights-only reader, which knows tensors, numbers,
texts and containers, and the one thing more that the original's optimizer holds: a learning rate that is a number of
numpy's.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar
from torch import Tensor

from .errors import UserError
from .published import record_of
from .record import Record

CONFIG, STATE = Path(".hydra/config.yaml"), Path("checkpoints-meta/checkpoint.pth")
BUFFERS = ("rotary_emb.inv_freq",)
"""In the model's state, but no parameters, so not averaged."""
NUMBERS: list[Any] = [
    (scalar, "numpy.core.multiarray.scalar"),  # as numpy 1 writes it, with which the original runs
    (scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
]


def is_original(folder: Path) -> bool:
    """Whether this is a run folder of the original's (or of another program that is configured by Hydra)."""
    return (folder / CONFIG).is_file()


def original_record(folder: Path) -> Record:
    """The run's model as a record. UserError when its config is damaged or is another program's."""
    import yaml

    path = folder / CONFIG
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as data: {error}.") from error
    return record_of(config, path)


def original_weights(folder: Path, ema: bool) -> dict[str, Tensor]:
    """The network's weights by name; ema: the averaged ones, which the file holds in order and without names.

    UserError when the file is missing or damaged, holds more than data, or is none of the original's.
    """
    path = folder / STATE
    state = _read(path)
    try:
        model, averages = state["model"], state["ema"]["shadow_params"]
        weights = {name.removeprefix("module."): value for name, value in model.items()}
        tensors = [*weights.values(), *averages]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no checkpoint of the original SEDD, which holds 'model' and 'ema' with 'shadow_params'."
        ) from error
    if not all(isinstance(value, Tensor) for value in tensors):
        raise UserError(f"{path} is no checkpoint of the original SEDD: it has other things among its weights.")
    return _averaged(weights, averages, path) if ema else weights


def _averaged(weights: dict[str, Tensor], averages: list[Tensor], path: Path) -> dict[str, Tensor]:
    """The weights with averages in place of the parameters, whose order is that of the model's state."""
    names = [name for name in weights if name not in BUFFERS]
    extra = averages[len(names) :]
    if len(averages) < len(names) or any(value.ndim for value in extra):  # the noise's unused parameter is a number
        raise UserError(f"The averages in {path} are {len(averages)} tensors, for {len(names)} parameters: no fit.")
    for name, value in zip(names, averages, strict=False):
        if value.shape != weights[name].shape:
            raise UserError(
                f"The averages in {path} do not fit: {list(value.shape)} for {name}, which is "
                f"{list(weights[name].shape)}. ema=False loads the weights without them."
            )
    return weights | dict(zip(names, averages, strict=False))


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path} is missing. One of the run's checkpoints/checkpoint_*.pth can be copied there.")
    try:
        with torch.serialization.safe_globals(NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f" (it names {found[1]})" if found else ""
        raise UserError(f"{path} holds more than data{what}, and was not run: leave it alone.") from error
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is damaged, or was not written by torch.save; nothing in it was run.") from error
