"""Folders of transformers with a decoder: Dream, DiffuGPT, DiffuLLaMA, and causal models to adapt."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from sedd_core import hookimpl
from sedd_core.families import DecoderFormat, Process
from sedd_core.record import Node
from sedd_core.stages import Format

ARCHITECTURES = {
    "dream": "qwen2",
    "gpt2": "gpt2",
    "llama": "llama",
    "mistral": "mistral",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}
"""Architectures of transformers, by the model type of a config in lower case."""
PREFIXES = ("denoise_model.", "transformer.", "model.")
"""Prefixes of the trunk's tensors; published GPT-2 has none."""
BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""Ends of the names of buffers that files of earlier versions of transformers contain."""
NOT_SIZES = (
    *("architectures", "auto_map", "transformers_version", "torch_dtype", "dtype", "use_cache", "_name_or_path"),
    *("task_specific_params", "vocab_size", "mask_token_id", "tie_word_embeddings", "quantization_config"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "attn_implementation", "summary_first_dropout"),
)
"""Keys of a config.json that do not shape the trunk."""


class HFFormat(DecoderFormat):
    """Decoders whose logits are of the next position: diffusion models adapted from causal ones, and causal ones.

    Dream is a Qwen 2 without a causal mask, DiffuGPT a GPT-2, DiffuLLaMA a Llama. A folder without a mask token is a
    causal model: a new mask gets the mean embedding, for training with init_from.

    Source: Ye et al., Dream 7B (arXiv 2508.15487); Gong et al., Scaling Diffusion Language Models via Adaptation from
        Autoregressive Models (arXiv 2410.17891), github.com/HKUNLP/DiffuLLaMA.
    """

    title = "a decoder of transformers (Dream, DiffuGPT, DiffuLLaMA, or a causal model to adapt)"
    precision = "bfloat16"
    network = "model_hf"
    embeddings = ("trunk.embed_tokens.weight", "trunk.wte.weight")

    def claims(self, config: Mapping[str, Any]) -> bool | None:
        """The model type of a supported architecture."""
        kind = config.get("model_type")
        return None if kind is None and config else str(kind).lower() in ARCHITECTURES

    def claims_names(self, names: Set[str]) -> bool:
        """The names of DiffuGPT and DiffuLLaMA in their authors' class."""
        return "embed_tokens.weight" in names and any(name.startswith(PREFIXES[0]) for name in names)

    def architecture(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config, by the architecture of transformers."""
        kind = str(config.get("model_type", "gpt2" if "n_embd" in config else "llama")).lower()
        sizes = {key: value for key, value in config.items() if key not in NOT_SIZES and value is not None}
        return {**sizes, "model_type": ARCHITECTURES.get(kind, kind)}

    def process(self, vocab_size: int) -> Process:
        """Absorb, with logits of the next position."""
        return Process(
            graph=Node("plugin", "graph_absorb", {"vocab_size": vocab_size}),
            noise=Node("plugin", "noise_loglinear"),
            head=Node("plugin", "head_mean"),
            model={"shift": True},
        )

    def renamed(self, name: str, names: Set[str]) -> str | None:
        """The name under `trunk`; buffers are not needed."""
        if name.endswith(BUFFERS):
            return None
        if name.startswith("lm_head."):
            return name
        if name == "embed_tokens.weight" and "denoise_model.ln_f.weight" in names:
            return "trunk.wte.weight"
        inner = next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name)
        return f"trunk.{inner}"


@hookimpl
def sedd_format() -> type[Format]:
    """The class of this plugin."""
    return HFFormat
