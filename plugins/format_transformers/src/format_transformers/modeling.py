"""The model's classes in transformers; importing this module registers them with AutoConfig and AutoModel."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput

from sedd_core import UserError, load_model
from sedd_core.record import Node, Record
from sedd_core.stages import Noise, ScoreNetwork

from . import MODEL_TYPE, TransformersFormat


class SEDDConfig(PretrainedConfig):
    """Config of a discrete diffusion model.

    Args:
        run: Record of the model as JSON (`sedd_core.record.Node.to_json`).
        options: Settings of `PretrainedConfig`.
    """

    model_type = MODEL_TYPE

    def __init__(self, run: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.run = run


class SEDDModel(PreTrainedModel):
    """A discrete diffusion model as a module of transformers."""

    config_class = SEDDConfig
    base_model_prefix = "model"
    model: ScoreNetwork
    """The model, as from `sedd_core.load_model`."""
    noise: Noise
    """The noise schedule."""

    @classmethod
    def from_pretrained(
        cls, path: str | PathLike[str], *_: Any, config: SEDDConfig | None = None, **options: Any
    ) -> SEDDModel:
        """Load a model in float32 for evaluation.

        Args:
            path: Folder or hub id.
            config: Config, as AutoModel has read it; None: that of the folder.
            options: Options of transformers, of which only their defaults are supported.

        Raises:
            UserError: There is no such model, it is damaged, or an option is not supported.
        """
        given = sorted(name for name, value in options.items() if name in UNSUPPORTED and value not in (None, False))
        if given:
            raise UserError(f"A {MODEL_TYPE} model takes no {', '.join(given)}: move or convert it after loading.")
        found = cls(config or AutoConfig.from_pretrained(path))
        found.model, _graph, found.noise = load_model(str(path), format="transformers")
        return found.eval()

    def forward(self, input_ids: Int64[Tensor, "B L"], t: float | Float[Tensor, " B"] = 1.0) -> MaskedLMOutput:
        """Compute the log-scores [B, L, S], as `logits`, of all states at time t; 0 at the current one.

        Args:
            input_ids: States [B, L].
            t: Time in (0, 1], the same for all sequences or one each.
        """
        times = torch.as_tensor(t, dtype=torch.float64, device=input_ids.device).expand(len(input_ids))
        return MaskedLMOutput(logits=self.model(input_ids, self.noise(times)))

    def save_pretrained(self, folder: str | PathLike[str], *_: Any, **options: Any) -> None:
        """Write config.json and model.safetensors to a folder, which is created if needed."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        weights = dict(self.model.backbone.state_dict())
        weights |= {f"noise.{name}": value for name, value in self.noise.state_dict().items()}
        weights |= {f"graph.{name}": value for name, value in self.model.graph.state_dict().items()}
        TransformersFormat().write(Path(folder), Record(run=Node.from_json(self.config.run)), weights)


UNSUPPORTED = ("dtype", "torch_dtype", "device_map", "quantization_config", "state_dict", "gguf_file")
"""Options of `PreTrainedModel.from_pretrained` that change what is loaded."""
AutoConfig.register(MODEL_TYPE, SEDDConfig)
AutoModel.register(SEDDConfig, SEDDModel)
