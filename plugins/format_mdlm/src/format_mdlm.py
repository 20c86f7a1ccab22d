"""The checkpoint layouts of MDLM's code: models on the hub, and files of PyTorch Lightning."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from torch import Tensor

from sedd_core import UserError, hookimpl
from sedd_core.families import FamilyFormat, Process, says
from sedd_core.record import Node
from sedd_core.stages import Format

VARIANTS = ("mdlm", "subs", "sedd", "ar")
"""Values of `algo.name`, or of `parameterization` in older configs; mdlm and subs are the same."""


class MDLMFormat(FamilyFormat):
    """MDLM, and the SEDD that its authors trained beside it: absorbing, log-linear noise.

    A config without a family's name is taken for one of MDLM if the names of the tensors fit and its network is given
    no noise level.

    Source: Sahoo et al., Masked Diffusion Language Models (arXiv 2406.07524), github.com/kuleshov-group/mdlm.
    """

    title = "a model of MDLM's code"
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
                "This is the autoregressive baseline of MDLM's code (parameterization ar), which is not supported: "
                "give a model with the parameterization subs or sedd."
            )
        return state

    def process(self, config: Mapping[str, Any], sizes: Mapping[str, int]) -> Process:
        """Absorb; the mean of the clean token without a noise level, or SEDD's scores given sigma."""
        variant = _variant(config)
        noise = config.get("noise", {})
        kind = noise.get("type", "loglinear") if isinstance(noise, dict) else noise
        if kind not in ("loglinear", "log-linear"):
            raise UserError(f"Its noise schedule is {kind!r}; supported: loglinear.")
        is_score = variant == "sedd"
        return Process(
            graph=Node("plugin", "graph_absorb", {"vocab_size": sizes["num_states"] - 1}),
            noise=Node("plugin", "noise_loglinear"),
            head=Node("plugin", "head_score", {"scale_by_sigma": True}) if is_score else Node("plugin", "head_mean"),
            model={"reads": "sigma" if is_score or config.get("time_conditioning") is True else "nothing"},
        )


def _variant(config: Mapping[str, Any]) -> str | None:
    """The parametrization that a config names; None if it names none."""
    algorithm = config.get("algo")
    named = algorithm.get("name") if isinstance(algorithm, dict) else config.get("parameterization")
    return named if isinstance(named, str) else None


@hookimpl
def sedd_format() -> type[Format]:
    """The class of this plugin."""
    return MDLMFormat
