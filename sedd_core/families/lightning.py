"""Checkpoints of PyTorch Lightning: weights, their averages, and the config of the run, read without executing code.

Such files contain objects of other libraries (a config of omegaconf, a tokenizer of transformers). Classes of these
libraries are replaced by one that only keeps what it is given; a reference to anything else is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from ..errors import UserError
from ..tensors import is_plain, read_saved
from .averages import averaged
from .config import flat

LIBRARIES = ("omegaconf.", "transformers.", "tokenizers.", "lightning.", "pytorch_lightning.", "numpy.", "pathlib.")
"""Modules whose classes are replaced."""
NAMES = (
    *(f"builtins.{name}" for name in ("dict", "list", "tuple", "set", "int", "float", "str", "bool", "bytes")),
    *("typing.Any", "typing.Union"),
)
"""Further names that configs reference, which are replaced too."""
DEEPEST = 20
"""Maximum nesting of a config."""


class Lightning(NamedTuple):
    """Content of a checkpoint."""

    weights: dict[str, Tensor]
    """The last weights, by name."""
    averages: list[Any] | None
    """Averages as stored, in the order of the parameters; None if the run made none."""
    config: dict[str, Any]
    """Config of the run as plain data, entries of its `model` beside its own; empty if the file has none."""

    def chosen(self, prefix: str, average: bool, path: Path) -> dict[str, Tensor]:
        """The weights with a prefix, which is removed: averaged ones if there are any and they are asked for."""
        own = {name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)}
        return averaged(own, self.averages, path) if average and self.averages is not None else own


def read_lightning(path: Path) -> Lightning:
    """Read a checkpoint of PyTorch Lightning, memory-mapped.

    Args:
        path: File, as written by torch.save.

    Raises:
        UserError: The file is missing or damaged, is not of Lightning, or contains more than data.
    """
    content = read_saved(path, [(Inert, name) for name in _replaceable(path)] + [(_empty, "collections.defaultdict")])
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(n, str) and is_plain(v) for n, v in weights.items()):
        raise UserError(
            f"{path} is not a checkpoint of PyTorch Lightning: it has no 'state_dict' of dense CPU tensors."
        )
    ema, parameters = content.get("ema"), content.get("hyper_parameters")
    averages = ema.get("shadow_params") if isinstance(ema, dict) else None
    if averages is not None and not isinstance(averages, list):
        raise UserError(f"{path} is damaged: its ema.shadow_params are a {type(averages).__name__}, not a list.")
    config = plain(parameters.get("config")) if isinstance(parameters, dict) else None
    return Lightning(dict(weights), averages, flat(config) if isinstance(config, dict) else {})


class Inert:
    """Takes the place of a class or function of another library: keeps the state that it is given, and does nothing."""

    state: Any = None

    def __new__(cls, *args: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _empty(*args: Any) -> dict[Any, Any]:
    """Takes the place of defaultdict, whose items torch's unpickler does not set."""
    return {}


def plain(value: Any, depth: int = 0) -> Any:
    """The data of a config: of containers their `_content`, of scalars their `_val`; None for anything else."""
    if depth > DEEPEST:
        return None
    if isinstance(value, Inert):
        state = value.state if isinstance(value.state, dict) else {}
        return plain(state.get("_content", state.get("_val")), depth)
    if isinstance(value, dict):
        return {name: plain(inner, depth + 1) for name, inner in value.items() if isinstance(name, str)}
    if isinstance(value, list):
        return [plain(inner, depth + 1) for inner in value]
    return value if isinstance(value, str | int | float | bool) else None


def _replaceable(path: Path) -> list[str]:
    """Names in a file that are replaced; none if it cannot be examined, which reading it then explains."""
    try:
        names = get_unsafe_globals_in_checkpoint(path)
    except Exception:  # a damaged file can raise anything
        return []
    return [name for name in names if name.startswith(LIBRARIES) or name in NAMES]
