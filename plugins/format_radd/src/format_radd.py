"""The checkpoint layout of RADD: config.json of its training run, and the weights of a network without time."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import torch
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.families import FamilyFormat, Process
from sedd_core.record import Node
from sedd_core.stages import Format

LAST = "output_layer.norm_final"


class RADDFormat(FamilyFormat):
    """RADD: absorbing, the mean of the clean token without a noise level.

    Its layer norms have biases in place of the modulation by the noise level. The same function is a modulation whose
    weights are zero: a shift by the bias, no scale, a gate of one. So the network loads into the one of SEDD.

    Source: Ou et al., Your Absorbing Discrete Diffusion Secretly Models the Conditional Distributions of Clean Data
    (arXiv 2406.03736), github.com/ML-GSAI/RADD.
    """

    title = "a RADD model"
    network = "model_ddit"
    precision = "float16"
    prefix = ""

    def claims(self, config: Mapping[str, Any]) -> bool | None:
        """The config of a SEDD run without its graph."""
        if not config:
            return None
        return {"tokens", "model"} <= config.keys() and "graph" not in config

    def claims_names(self, names: Set[str]) -> bool:
        """Layer norms with biases, and no embedding of the noise level."""
        return {"blocks.0.norm1.bias", f"{LAST}.bias"} <= names and "sigma_map.mlp.0.weight" not in names

    def stated(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The sizes of the config, which states the number of tokens, and a width that the network does not use."""
        sizes = super().stated(config) | {"cond_dim": 1}
        tokens = config.get("tokens")
        return sizes | {"num_states": tokens + 1} if isinstance(tokens, int) else sizes

    def process(self, config: Mapping[str, Any], sizes: Mapping[str, int]) -> Process:
        """Absorb, with a network that is given no noise level."""
        return Process(
            graph=Node("plugin", "graph_absorb", {"vocab_size": sizes["num_states"] - 1}),
            noise=Node("plugin", "noise_loglinear"),
            head=Node("plugin", "head_mean"),
            model={"reads": "nothing"},
        )

    def adapted(self, state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
        """The biases of the layer norms as biases of modulations (shift, scale, gate), and an embedding of zeros."""
        blocks = [name.removesuffix(".norm1.bias") for name in state if name.endswith(".norm1.bias")]
        if blocks and f"{LAST}.bias" in state:
            for block in blocks:
                biases = [state.pop(f"{block}.{norm}.bias") for norm in ("norm1", "norm2")]
                state |= _modulation(block, [part for b in biases for part in (b, 0 * b, torch.ones_like(b))])
            last = state.pop(f"{LAST}.bias")
            state |= _modulation("output_layer", [last, 0 * last])
        like = next(iter(state.values()), torch.empty(0))
        for layer, width in ((0, 256), (2, 1)):
            state[f"sigma_map.mlp.{layer}.weight"] = like.new_zeros(1, width)
            state[f"sigma_map.mlp.{layer}.bias"] = like.new_zeros(1)
        return state


def _modulation(name: str, parts: list[Tensor]) -> dict[str, Tensor]:
    """The layer of a modulation that is the same at all noise levels, for a level embedding of width 1."""
    bias = torch.cat(parts)
    return {f"{name}.adaLN_modulation.bias": bias, f"{name}.adaLN_modulation.weight": bias.new_zeros(len(bias), 1)}


@hookimpl
def sedd_format() -> type[Format]:
    """The class of this plugin."""
    return RADDFormat
