"""The checkpoint layout of BD3-LM: models on the hub, in blocks, or with one block, as they are pretrained."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from sedd_core import UserError, hookimpl
from sedd_core.families import FamilyFormat, Process, says
from sedd_core.record import Node
from sedd_core.stages import Format


class BD3LMFormat(FamilyFormat):
    """BD3-LM: MDLM's process and network, given no noise level; a block reads the clean blocks before it.

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
        """Absorb, with a network that is given no noise level, in blocks unless one is as long as the sequence."""
        block, length = config.get("block_size"), config.get("model_length", config.get("length"))
        if not isinstance(block, int) or block < 1:
            raise UserError(f"block_size is {block}: it must be a number of tokens of at least 1.")
        return Process(
            graph=Node("plugin", "graph_absorb", {"vocab_size": sizes["num_states"] - 1}),
            noise=Node("plugin", "noise_loglinear"),
            head=Node("plugin", "head_mean"),
            model={"reads": "nothing"} | ({} if block == length else {"block_size": block}),
        )


@hookimpl
def sedd_format() -> type[Format]:
    """The class of this plugin."""
    return BD3LMFormat
