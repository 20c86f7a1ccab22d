"""The checkpoint layout of LLaDA: a bidirectional Llama under names of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any

from sedd_core import UserError, hookimpl
from sedd_core.families import DecoderFormat, Process, says
from sedd_core.record import Node
from sedd_core.stages import Format

PREFIX = "model.transformer."
PARTS = {
    "attn_norm": "input_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_norm": "post_attention_layernorm",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
"""Tensors of a block, by their names in Llama."""
WHOLE = {"wte": "trunk.embed_tokens", "ln_f": "trunk.norm", "ff_out": "lm_head"}
"""Tensors outside of blocks."""
SIZES = {
    "hidden_size": "d_model",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "mlp_hidden_size",
    "max_position_embeddings": "max_sequence_length",
    "rms_norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
}
"""Keys of Llama's config, by those of LLaDA's."""
FIXED = {
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "rope": True,
    "alibi": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "attention_layer_norm": False,
    "input_emb_norm": False,
    "scale_logits": False,
    "multi_query_attention": False,
    "clip_qkv": None,
    "block_group_size": 1,
}
"""What the published models have of the variants that their config can state."""


class LLaDAFormat(DecoderFormat):
    """LLaDA: absorbing, the mean of the clean token without a noise level, by a Llama without a causal mask.

    Source: Nie et al., Large Language Diffusion Models (arXiv 2502.09992), github.com/ML-GSAI/LLaDA.
    """

    title = "a LLaDA model"
    precision = "bfloat16"
    network = "model_hf"
    embeddings = ("trunk.embed_tokens.weight",)

    def claims(self, config: Mapping[str, Any]) -> bool | None:
        """The name of the family in the config."""
        if says(config, "llada"):
            return True
        return False if "model_type" in config else None

    def claims_names(self, names: Set[str]) -> bool:
        """Blocks with ff_proj and up_proj under `model.transformer`."""
        return {f"{PREFIX}wte.weight", f"{PREFIX}blocks.0.ff_proj.weight", f"{PREFIX}blocks.0.up_proj.weight"} <= names

    def architecture(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A Llama of the same sizes."""
        missing = [key for key in SIZES.values() if config.get(key) is None]
        if missing:
            raise UserError(f"The config of {self.title} lacks {', '.join(missing)}.")
        other = [f"{key}={config[key]!r}" for key in FIXED if config.get(key) not in (None, FIXED[key])]
        if other:
            raise UserError(f"The config of {self.title} states {', '.join(other)}, which model_hf does not express.")
        heads = config.get("n_kv_heads") or config["n_heads"]
        sizes = {name: config[key] for name, key in SIZES.items()}
        return {"model_type": "llama", "num_key_value_heads": heads, **sizes}

    def process(self, vocab_size: int) -> Process:
        """Absorb, with a network that is given no noise level."""
        return Process(
            graph=Node("plugin", "graph_absorb", {"vocab_size": vocab_size}),
            noise=Node("plugin", "noise_loglinear"),
            head=Node("plugin", "head_mean"),
            model={},
        )

    def length(self, config: Mapping[str, Any]) -> int | None:
        """The longest sequence of the config."""
        return config.get("max_sequence_length")

    def renamed(self, name: str, names: Set[str]) -> str | None:
        """The name in a Llama; other names stay, and are refused when the network is loaded."""
        inner, _, kind = name.removeprefix(PREFIX).rpartition(".")
        if inner in WHOLE:
            return f"{WHOLE[inner]}.{kind}"
        found = re.fullmatch(r"blocks\.(\d+)\.(\w+)", inner)
        return f"trunk.layers.{found[1]}.{PARTS[found[2]]}.{kind}" if found and found[2] in PARTS else name


@hookimpl
def sedd_format() -> type[Format]:
    """The class of this plugin."""
    return LLaDAFormat
