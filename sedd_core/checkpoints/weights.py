"""Conversion between a model and the named tensors of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from ..distributed.sharding import divided_like
from ..errors import UserError
from ..model.score import ScoreModel
from ..stages import Noise


def state_dict_of(model: ScoreModel, noise: Noise) -> dict[str, Tensor]:
    """Collect the tensors of a checkpoint.

    Args:
        model: Model whose backbone and graph are collected.
        noise: Noise schedule.

    Returns:
        Tensors by their names in the file; they share memory with the modules.
    """
    return {
        **model.backbone.state_dict(),
        **{f"noise.{name}": value for name, value in noise.state_dict().items()},
        **{f"graph.{name}": value for name, value in model.graph.state_dict().items()},
    }


def write_weights(file: Path, model: ScoreModel, noise: Noise) -> None:
    """Write the tensors of a checkpoint to a safetensors file.

    Args:
        file: File to write.
        model: Model whose backbone and graph are written.
        noise: Noise schedule.

    Raises:
        OSError, SafetensorError: The file cannot be written.
    """
    save_file({name: value.contiguous() for name, value in state_dict_of(model, noise).items()}, file, {"format": "pt"})


def load_state_into(stored: dict[str, Tensor], source: Path, model: ScoreModel, noise: Noise) -> None:
    """Load the tensors of a checkpoint into the modules of a model.

    Args:
        stored: Tensors by their names in the file; emptied.
        source: File or folder of the tensors, for messages.
        model: Model whose backbone and graph are loaded.
        noise: Noise schedule.

    Raises:
        UserError: Tensors are missing, unexpected, or of another shape.
    """
    modules: dict[str, nn.Module] = {"noise.": noise, "graph.": model.graph, "": model.backbone}
    for prefix, module in modules.items():
        names = [name for name in stored if name.startswith(prefix)]
        load_module(module, {name.removeprefix(prefix): stored.pop(name) for name in names}, source)


def load_module(module: nn.Module, state: dict[str, Tensor], source: Path) -> None:
    """Load the state of one module.

    Args:
        module: Module to load.
        state: Tensors by their names in the module.
        source: File or folder of the tensors, for messages.

    Raises:
        UserError: Tensors are missing, unexpected, or of another shape.
    """
    own = module.state_dict()
    state = {name: divided_like(value, own.get(name, value)) for name, value in state.items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        first, *others = (line.strip().rstrip(".") for line in str(error).splitlines()[1:])
        more = f" (and {len(others)} more)" if others else ""
        raise UserError(f"The weights in {source} do not fit the model of its config: {first}{more}.") from error
