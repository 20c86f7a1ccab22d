"""The checkpoint layout of BD3-LM: models on the hub, in the form that they are pretrained in, with one block."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from sedd_core import UserError, hookimpl
from sedd_core.families import FamilyFormat, Process, says
from sedd_core.record import Node
from sedd_core.stages import Format


class BD3LMFormat(FamilyFormat):
    """BD3-LM with one block as long as the sequence: MDLM's process and network, given no noise level.

    Source: Arriola et al., Block Diffusion (arXiv 2503.09573), github.com/kuleshov-group/bd3lms.
    """

    title = "a BD3-LM model"
    network = "model_ddit"
    precision = "bfloat16 autocast (hub classes: float32)"

    def claims(self, config: Mapping[str, Any]) -> bool | None:
        """By the family's name, or by a block size and cross-attention."""
        algorithm = config.get("algo")
        named = isinstance(algorithm, dict) and algorithm.get("name") == "bd3lm"
        return named or says(config, "bd3lm") or {"block_size", "cross_attn"} <= config.keys()

    def claims_names(self, names: Set[str]) -> bool:
        """Never: the names are those of MDLM."""
        return False

    def process(self, config: Mapping[str, Any], sizes: Mapping[str, int]) -> Process:
        """Absorb, with a network that is given no noise level."""
        block, length = config.get("block_size"), config.get("model_length", config.get("length"))
        if block is None or block != length:
            raise UserError(
                f"it has blocks of {block} tokens in sequences of {length}: blocks are not supported. "
                "Supported is the pretraining form, with one block of the length of the sequence."
            )
        return Process(
            graph=Node("plugin", "graph_absorb", {"vocab_size": sizes["num_states"] - 1}),
            noise=Node("plugin", "noise_loglinear"),
            head=Node("plugin", "head_mean"),
            model={"reads": "nothing"},
        )


@hookimpl
def sedd_format() -> type[Format]:
    """The class of this plugin."""
    return BD3LMFormat
