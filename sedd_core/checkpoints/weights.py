"""The tensors of a checkpoint: from a model, and back into one."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import UserError
from ..model.score import ScoreModel
from ..stages import Noise


def state_dict_of(model: ScoreModel, noise: Noise) -> dict[str, Tensor]:
    """Everything to save, by the name it has in the file. The tensors are the live ones."""
    return {
        **model.backbone.state_dict(),
        **{f"noise.{name}": value for name, value in noise.state_dict().items()},
        **{f"graph.{name}": value for name, value in model.graph.state_dict().items()},
    }


def write_weights(file: Path, model: ScoreModel, noise: Noise) -> None:
    save_file(
        {name: value.contiguous() for name, value in state_dict_of(model, noise).items()}, file, {"format": "pt"}
    )


def load_state_into(stored: dict[str, Tensor], source: Path, model: ScoreModel, noise: Noise) -> None:
    """Put weights in place, all of them and nothing else; source: where they are from, for messages."""
    modules: dict[str, nn.Module] = {"noise.": noise, "graph.": model.graph, "": model.backbone}
    for prefix, module in modules.items():
        own = {name: stored.pop(name) for name in list(stored) if name.startswith(prefix)}
        load_module(module, {name.removeprefix(prefix): value for name, value in own.items()}, source)


def load_module(module: nn.Module, own: dict[str, Tensor], source: Path) -> None:
    """Put a module's weights in place. UserError when they are not all of its, or others; source: for messages."""
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        first, *others = (line.strip().rstrip(".") for line in str(error).splitlines()[1:])
        more = f" (and {len(others)} more)" if others else ""
        raise UserError(f"The weights in {source} do not fit the model of their config: {first}{more}.") from error
