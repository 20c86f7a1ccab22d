"""Encoders and decoders of Hugging Face transformers, as bidirectional networks."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sedd_core import UserError, hookimpl
from sedd_core.stages import Backbone, NoiseLevel

from .lora import add_adapters
from .trunk import Attention, build_trunk, embeddings, read_config

Reads = Literal["nothing", "sigma", "time"]
FREQUENCIES = 128


class LevelEmbedding(nn.Module):
    """Map from noise levels to vectors that are added to the embeddings of the states; zero at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(2 * FREQUENCIES, width), nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape D"]:
        """Vectors [..., D] of the values [...], sigma or t."""
        index = torch.arange(FREQUENCIES, device=value.device)
        angles = value.float()[..., None] * torch.exp(-math.log(10_000) * index / FREQUENCIES)
        waves = torch.cat([angles.cos(), angles.sin()], -1).to(self.hidden.weight.dtype)
        return self.out(nn.functional.silu(self.hidden(waves)))


class HFBackbone(Backbone):
    """A network of transformers with bidirectional attention, and a linear head of one logit per state.

    Parameters are named `trunk.*` (as in transformers' AutoModel), `lm_head.weight` (unless the config ties it to the
    embeddings of the states) and `level.*`. Only code of the installed transformers runs, never that of a model's
    folder. Weights of a causal model are read by `init_from` (format_hf).

    Args:
        num_states: Number S of states; set by the run from the graph.
        config: Architecture and sizes as a JSON object, the content of a config.json. `model_type` is required; omitted
            keys have the defaults of transformers; `vocab_size` is replaced by num_states.
        shift: Whether the logits of a position are computed from the features of the position before it, as in a
            network adapted from an autoregressive one (Dream, DiffuGPT, DiffuLLaMA). The first position has its own.
        reads: Part of the noise level that is embedded and added to the states' embeddings: nothing, sigma or time.
        attention: Implementation of attention: sdpa (torch's own, everywhere), flash (flash-attn 2, on a GPU in half
            precision), flex (torch's FlexAttention) or eager (plain matrix products).
        activation_checkpointing: Whether the backward pass recomputes each block from its input: less memory for about
            a third more computation.
        lora_rank: Rank of the trained adapters of all linear maps of the trunk, with all other weights frozen (needs
            peft); 0: no adapters, all weights are trained.
        lora_alpha: Scale of the adapters: their product is multiplied by lora_alpha / lora_rank.

    Raises:
        ValueError: The config is invalid, its architecture is not supported or stays causal, or lora_rank < 0.

    Source: Gong et al., Scaling Diffusion Language Models via Adaptation from Autoregressive Models (arXiv 2410.17891),
        section 3: attention without a causal mask, and the shift.
    """

    def __init__(
        self,
        *,
        num_states: int,
        config: str = '{"model_type": "gpt2"}',
        shift: bool = False,
        reads: Reads = "nothing",
        attention: Attention = "sdpa",
        activation_checkpointing: bool = False,
        lora_rank: int = 0,
        lora_alpha: int = 16,
    ) -> None:
        super().__init__()
        if lora_rank < 0:
            raise ValueError(f"lora_rank must be at least 0, not {lora_rank}")
        self.config = read_config(config, num_states)
        self.shift, self.reads = shift, reads
        self.trunk = build_trunk(self.config, attention)
        if activation_checkpointing:
            self.trunk.activation_checkpointing_enable({"use_reentrant": False})
        width, std = self.config.hidden_size, getattr(self.config, "initializer_range", 0.02)
        self.lm_head = None if self.config.tie_word_embeddings else nn.Linear(width, num_states, bias=False)
        if self.lm_head is not None:
            nn.init.normal_(self.lm_head.weight, std=std)
        if lora_rank:
            add_adapters(self.trunk, self.lm_head, lora_rank, lora_alpha)
        self.level = None if reads == "nothing" else LevelEmbedding(width)
        self.register_load_state_dict_pre_hook(_complete)

    @property
    def reads_noise(self) -> bool:
        """Whether `reads` names a part of the noise level."""
        return self.reads != "nothing"

    @property
    def head(self) -> nn.Linear:
        """The linear map from features to S logits; of tied weights, one that shares the embeddings of the states."""
        if self.lm_head is not None:
            return self.lm_head
        states = embeddings(self.trunk)
        linear = nn.Linear(states.embedding_dim, states.num_embeddings, bias=False, device="meta")
        linear.weight = states.weight
        return linear

    def forward(self, x: Int64[Tensor, "B L"], level: NoiseLevel, cond: Tensor | None = None) -> Float[Tensor, "B L D"]:
        """Features [B, L, D] of noised sequences.

        Args:
            x: States [B, L].
            level: Noise level [B] or [B, L].
            cond: Not supported; must be None.

        Raises:
            UserError: A condition is given, or the sequences are longer than the positions of the config.
        """
        if cond is not None:
            raise UserError(
                "model_hf takes no condition: leave cond unset, or choose a model that supports conditions."
            )
        most = getattr(self.config, "max_position_embeddings", None)
        if most is not None and x.shape[1] > most:
            raise UserError(
                f"The sequences have {x.shape[1]} tokens, but model.config has max_position_embeddings={most}: lower "
                "data.length, or raise it there."
            )
        embedded = embeddings(self.trunk)(x)
        if self.level is not None:
            added = self.level(level.sigma if self.reads == "sigma" else level.t)
            embedded = embedded + (added[:, None] if level.sigma.ndim == 1 else added)
        features = self.trunk(inputs_embeds=embedded, use_cache=False).last_hidden_state
        return torch.cat([features[:, :1], features[:, :-1]], 1) if self.shift else features


def _complete(module: nn.Module, state: dict[str, Tensor], *_: Any) -> None:
    """Fit weights of the same network without adapters and level embedding: those keep their initial values."""
    own = module.state_dict()
    added = [name for name in own if name.startswith("level.") or ".lora_" in name]
    if any(name in state for name in added):
        return
    for name in own:
        plain = name.replace(".base_layer.", ".")
        if plain != name and plain in state:
            state[name] = state.pop(plain)
    state |= {name: own[name] for name in added}


@hookimpl
def sedd_model() -> type[Backbone]:
    """The class of this plugin."""
    return HFBackbone
