"""A run folder of the original implementation: `.hydra/config.yaml` and `checkpoints-meta/checkpoint.pth`.

The latter is read as data alone (see `tensors`); the original's optimizer holds one thing more than torch's reader
knows: a learning rate that is a number of numpy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import scalar
from torch import Tensor

from ..errors import UserError
from ..record.record import Record
from .published import record_of_config
from .tensors import is_plain, read_saved

CONFIG, STATE = Path(".hydra/config.yaml"), Path("checkpoints-meta/checkpoint.pth")
LONGEST_CONFIG = 100_000
"""Characters up to which a config is read."""
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
    path = folder / CONFIG
    try:
        config = _yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # YAML's own, and what its constructors of numbers and dates make of other texts
        raise UserError(f"{path} cannot be read as data: {error}.") from error
    return record_of_config(config, path)


def original_weights(folder: Path, ema: bool) -> dict[str, Tensor]:
    """The network's weights by name; ema: the averaged ones, which the file holds in order and without names.

    UserError when the file is missing or damaged, holds more than data, or is none of the original's.
    """
    path = folder / STATE
    if not path.is_file():
        raise UserError(f"{path} is missing. One of the run's checkpoints/checkpoint_*.pth can be copied there.")
    state = read_saved(path, NUMBERS)
    try:
        model, averages = state["model"], state["ema"]["shadow_params"]
        weights = {name.removeprefix("module."): value for name, value in model.items()}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise _other(path) from error
    if not isinstance(averages, list | tuple):
        raise _other(path)
    if not all(map(is_plain, [*weights.values(), *averages])):
        raise UserError(f"{path} is no checkpoint of the original SEDD: it has other things among its weights.")
    return _averaged(weights, averages, path) if ema else weights


def _averaged(weights: dict[str, Tensor], averages: Sequence[Tensor], path: Path) -> dict[str, Tensor]:
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


def _yaml(text: str) -> Any:
    """YAML's plain data. ValueError for much text, and for aliases: Hydra writes none, and they may never end."""
    import yaml

    if len(text) > LONGEST_CONFIG:
        raise ValueError(f"it has {len(text):,} characters, where the original's config has about 1,500")
    if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, yaml.SafeLoader)):
        raise ValueError("it repeats parts by aliases (*name), which the original does not write")
    return yaml.safe_load(text)


def _other(path: Path) -> UserError:
    return UserError(
        f"{path} is no checkpoint of the original SEDD, which holds 'model' and 'ema' with 'shadow_params'."
    )
