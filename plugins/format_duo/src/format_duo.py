"""The checkpoint layouts of Duo and of UDLM: models on the hub, and files of PyTorch Lightning."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from sedd_core import UserError, hookimpl
from sedd_core.families import FamilyFormat, Process, says
from sedd_core.record import Node
from sedd_core.stages import Format

ALGORITHMS = ("duo", "duo_base", "udlm", "distillation")
"""Values of `algo.name` in the configs of Duo's runs."""


class DuoFormat(FamilyFormat):
    """Duo, distilled or not, and UDLM, with or without classes: uniform, log-linear noise, the mean of the clean token.

    A config without a family's name is taken for one of these if its network is given the noise level, or if the names
    of the tensors fit.

    Source: Sahoo et al., The Diffusion Duality (arXiv 2506.10892), github.com/s-sahoo/duo; Schiff et al., Simple
    Guidance Mechanisms for Discrete Diffusion Models (arXiv 2412.10193).
    """

    title = "a model of Duo or UDLM"
    network = "model_ddit"
    precision = "bfloat16 autocast (hub classes: float32)"
    added_tokens = ("[PAD]",)

    def claims(self, config: Mapping[str, Any]) -> bool | None:
        """By the family's name, the algorithm or the diffusion of a run, or a time-conditioned network."""
        algorithm = config.get("algo")
        if isinstance(algorithm, dict):
            return algorithm.get("name") in ALGORITHMS
        if "diffusion" in config or "parameterization" in config:
            return config.get("diffusion") == "uniform"
        if "model_type" in config or "architectures" in config:
            return says(config, "duo", "udlm")
        stated = config.get("time_conditioning")
        return stated if isinstance(stated, bool) else None

    def claims_names(self, names: Set[str]) -> bool:
        """The network with sigma_map, under `backbone.`."""
        return {"backbone.sigma_map.mlp.0.weight", "backbone.output_layer.linear.weight"} <= names

    def process(self, config: Mapping[str, Any], sizes: Mapping[str, int]) -> Process:
        """Uniform over all states; the network is given sigma."""
        noise = config.get("noise", {})
        kind = noise.get("type", "log-linear") if isinstance(noise, dict) else noise
        if kind not in ("loglinear", "log-linear"):
            raise UserError(f"its noise schedule is {kind!r}; supported: log-linear.")
        return Process(
            graph=Node("plugin", "graph_uniform", {"vocab_size": sizes["num_states"]}),
            noise=Node("plugin", "noise_loglinear"),
            head=Node("plugin", "head_mean"),
            model={"reads": "sigma"},
        )


@hookimpl
def sedd_format() -> type[Format]:
    """The class of this plugin."""
    return DuoFormat
