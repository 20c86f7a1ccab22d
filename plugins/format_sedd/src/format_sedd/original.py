"""Run folders of the original implementation: `.hydra/config.yaml` and `checkpoints-meta/checkpoint.pth`.

The checkpoint is read without executing code (see `sedd_core.tensors`). Its optimizer state contains one type that
torch's weights-only unpickler rejects by default: the learning rate is a NumPy scalar.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import scalar
from torch import Tensor

from sedd_core import UserError
from sedd_core.families import averaged
from sedd_core.files import check_readable
from sedd_core.record import Record
from sedd_core.tensors import is_plain, read_saved

from .published import record_of_config

CONFIG, STATE = Path(".hydra/config.yaml"), Path("checkpoints-meta/checkpoint.pth")
LONGEST_CONFIG = 100_000
"""Maximum number of characters of a config."""
NUMBERS: list[Any] = [
    (scalar, "numpy.core.multiarray.scalar"),  # the name in NumPy 1, which the original uses
    (scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
]
"""Classes and functions that a pickled NumPy scalar references."""


def has_config(folder: Path) -> bool:
    """Whether a folder has the config that Hydra writes into a run folder."""
    check_readable(folder / CONFIG)
    return (folder / CONFIG).is_file()


def is_original(folder: Path) -> bool:
    """Whether a folder is a run folder of the original: other programs use Hydra, but no checkpoints-meta/."""
    return has_config(folder) and (folder / STATE).parent.is_dir()


def original_record(folder: Path) -> Record:
    """Convert the config of an original run to a record of its model.

    Args:
        folder: Run folder of the original.

    Raises:
        UserError: The config is damaged, or belongs to another program.
    """
    path = folder / CONFIG
    try:
        config = _yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # from YAML, or from its constructors of numbers and dates
        raise UserError(f"{path} cannot be read as data: {error}.") from error
    return record_of_config(config, path)


def original_weights(folder: Path, ema: bool) -> dict[str, Tensor]:
    """Read the weights of an original run.

    Args:
        folder: Run folder of the original.
        ema: Whether to return the averaged weights, which the file stores as a list without names.

    Returns:
        Weights by name.

    Raises:
        UserError: The file is missing or damaged, contains more than data, or belongs to another program.
    """
    path = folder / STATE
    if not path.is_file():
        raise UserError(f"{path} is missing. Copy one of the run's checkpoints/checkpoint_*.pth to this path.")
    state = read_saved(path, NUMBERS)
    try:
        model, averages = state["model"], state["ema"]["shadow_params"]
        weights = {name.removeprefix("module."): value for name, value in model.items()}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise _not_original(path) from error
    if not isinstance(averages, list | tuple):
        raise _not_original(path)
    if not all(map(is_plain, [*weights.values(), *averages])):
        raise UserError(
            f"{path} is not a checkpoint of the original SEDD: some of its weights are not dense CPU tensors."
        )
    return averaged(weights, averages, path) if ema else weights


def _yaml(text: str) -> Any:
    """Parse YAML. ValueError for long text and for aliases, which Hydra does not write and which can be recursive."""
    import yaml

    if len(text) > LONGEST_CONFIG:
        raise ValueError(f"it has {len(text):,} characters (the original's config: about 1,500)")
    if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, yaml.SafeLoader)):
        raise ValueError("it contains aliases (*name), which the original does not write")
    return yaml.safe_load(text)


def _not_original(path: Path) -> UserError:
    return UserError(
        f"{path} is not a checkpoint of the original SEDD, which contains 'model', and 'ema' with 'shadow_params'."
    )
