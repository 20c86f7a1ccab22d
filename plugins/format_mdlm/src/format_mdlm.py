"""The checkpoint layouts of MDLM's code: models on the hub, and files of PyTorch Lightning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from sedd_core import UserError, hookimpl
from sedd_core.families import FamilyFormat, Process, expressible, inexpressible, says
from sedd_core.files import write_text
from sedd_core.record import Node, Record
from sedd_core.stages import Format

VARIANTS = ("mdlm", "subs", "sedd", "ar")
"""Values of `algo.name`, or of `parameterization` in older configs; mdlm and subs are the same."""

SIZES = {
    "hidden_dim": "hidden_size",
    **{name: name for name in ("n_blocks", "n_heads", "cond_dim", "dropout")},
}
"""Sizes of the network in the hub's config, with their names as arguments of model_ddit."""
READS = {"nothing": False, "sigma": True}
"""`time_conditioning`, by what model_ddit reads."""
SUPPORTED = {
    "graph_absorb": ("vocab_size",),
    "noise_loglinear": (),
    "head_mean": (),
    "model_ddit": ("num_states", "reads", *SIZES.values()),
}
"""Plugins that the hub's layout expresses, each with the arguments that it states."""
PUBLISHED = "kuleshov-group/mdlm-owt"
HUB = {
    "model_type": "mdlm",
    "architectures": ["MDLM"],
    "auto_map": {
        "AutoConfig": f"{PUBLISHED}--configuration_mdlm.MDLMConfig",
        "AutoModelForMaskedLM": f"{PUBLISHED}--modeling_mdlm.MDLM",
    },
    "torch_dtype": "float32",
}
"""What the config of every model says: its class is in the repository of the published one."""


class MDLMFormat(FamilyFormat):
    """MDLM, and the SEDD that its authors trained beside it: absorbing, log-linear noise.

    A config without a family's name is taken for one of MDLM if the names of the tensors fit and its network is given
    no noise level.

    Source: Sahoo et al., Masked Diffusion Language Models (arXiv 2406.07524), github.com/kuleshov-group/mdlm.
    """

    title = "a model of MDLM's code"
    network = "model_ddit"
    precision = "bfloat16 autocast (hub classes: float32)"

    def claims(self, config: Mapping[str, Any]) -> bool | None:
        """By the family's name, or by the parametrization and the diffusion of a run."""
        if _variant(config) is not None:
            return _variant(config) in VARIANTS and config.get("diffusion", "absorbing_state") == "absorbing_state"
        if "model_type" in config or "architectures" in config:
            return says(config, "mdlm")
        return False if config.get("time_conditioning") is True else None

    def claims_names(self, names: Set[str]) -> bool:
        """The network with sigma_map and without classes, under `backbone.`."""
        wanted = {"backbone.sigma_map.mlp.0.weight", "backbone.output_layer.linear.weight"}
        return wanted <= names and not any(name.startswith("backbone.cond_map.") for name in names)

    def adapted(self, state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors as they are. UserError for the autoregressive baseline, whose network is another."""
        if _variant(config) == "ar":
            raise UserError(
                "it is the autoregressive baseline of MDLM's code (parameterization ar), which is not supported: "
                "give a model with the parameterization subs or sedd."
            )
        return state

    def process(self, config: Mapping[str, Any], sizes: Mapping[str, int]) -> Process:
        """Absorb; the mean of the clean token without a noise level, or SEDD's scores given sigma."""
        variant = _variant(config)
        noise = config.get("noise", {})
        kind = noise.get("type", "loglinear") if isinstance(noise, dict) else noise
        if kind not in ("loglinear", "log-linear"):
            raise UserError(f"its noise schedule is {kind!r}; supported: loglinear.")
        is_score = variant == "sedd"
        return Process(
            graph=Node("plugin", "graph_absorb", {"vocab_size": sizes["num_states"] - 1}),
            noise=Node("plugin", "noise_loglinear"),
            head=Node("plugin", "head_score", {"scale_by_sigma": True}) if is_score else Node("plugin", "head_mean"),
            model={"reads": "sigma" if is_score or config.get("time_conditioning") is True else "nothing"},
        )

    def write(self, folder: Path, record: Record, weights: Mapping[str, Tensor]) -> None:
        """Write config.json and model.safetensors as on the hub; its code is that of the published model."""
        graph, _noise, model, _head = expressible(record, SUPPORTED, "The hub layout of MDLM").values()
        if model["reads"] not in READS:
            raise inexpressible(f"model.reads={model['reads']!r}", SUPPORTED, "The hub layout of MDLM")
        config = HUB | {key: model[name] for key, name in SIZES.items()}
        config |= {
            "vocab_size": graph["vocab_size"] + 1,
            "model_length": record.length or record.run.args.get("length"),
            "time_conditioning": READS[model["reads"]],
        }
        write_text(folder / "config.json", json.dumps(config, indent=2, allow_nan=False) + "\n")
        named = {f"{self.prefix}{name}": value.contiguous() for name, value in weights.items()}
        save_file(named, folder / "model.safetensors", {"format": "pt"})


def _variant(config: Mapping[str, Any]) -> str | None:
    """The parametrization that a config names; None if it names none."""
    algorithm = config.get("algo")
    named = algorithm.get("name") if isinstance(algorithm, dict) else config.get("parameterization")
    return named if isinstance(named, str) else None


@hookimpl
def sedd_format() -> type[Format]:
    """The class of this plugin."""
    return MDLMFormat
