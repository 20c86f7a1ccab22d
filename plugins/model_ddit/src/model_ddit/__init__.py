"""The diffusion transformer of SEDD, with the published parameter names.

A DiT (Peebles and Xie 2023) over tokens: pre-norm blocks with shifts, scales and gates computed from the noise level
(adaLN-zero), rotary position embeddings (Su et al. 2021), bidirectional attention, and an untied head.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sedd_core import UserError, hookimpl
from sedd_core.stages import Backbone, DocumentBackbone, NoiseLevel

from .attention import Name, backend
from .layers import Block, NoiseEmbedding, OutputLayer, Rotary, TokenEmbedding

Reads = Literal["sigma", "time", "nothing"]


class DDiT(DocumentBackbone):
    """The published diffusion transformer.

    Parameters are named as published: `vocab_embed`, `sigma_map`, `rotary_emb`, `blocks.*` and `output_layer`.

    Args:
        num_states: Number S of states; set by the run from the graph.
        hidden_size: Width D of the features.
        n_blocks: Number of transformer blocks.
        n_heads: Number of attention heads; hidden_size / n_heads must be even.
        cond_dim: Width of the embedding of the noise level.
        dropout: Dropout probability after attention and after each block's MLP.
        reads: Part of the noise level that the network is given: sigma (SEDD, Duo, UDLM), time (GIDD), or nothing
            (MDLM, RADD), for which it embeds zeros.
        attention: Implementation of attention: sdpa (torch's own, everywhere), flash (flash-attn; trains in bf16 on a
            GPU) or flex (torch's FlexAttention; trains on a GPU). The weights are the same.
        activation_checkpointing: Whether the backward pass recomputes each block from its input, which alone is kept:
            less memory for about a third more computation, and the same numbers.

    Raises:
        ValueError: A size is below 1, n_heads does not divide hidden_size into heads of an even size, dropout is
            not in [0, 1), or flash-attn has no kernel for the size of a head.

    Source: SEDD, appendix C; DiT (Peebles and Xie 2023); zeros in place of sigma: MDLM (Sahoo et al. 2024,
    arXiv 2406.07524) without time conditioning.
    """

    def __init__(
        self,
        *,
        num_states: int,
        hidden_size: int = 768,
        n_blocks: int = 12,
        n_heads: int = 12,
        cond_dim: int = 128,
        dropout: float = 0.1,
        reads: Reads = "sigma",
        attention: Name = "sdpa",
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"hidden_size": hidden_size, "n_blocks": n_blocks, "n_heads": n_heads, "cond_dim": cond_dim}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        if hidden_size % n_heads or hidden_size // n_heads % 2:
            raise ValueError(f"n_heads={n_heads} must divide hidden_size={hidden_size} into heads of an even size")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
        head_size = hidden_size // n_heads
        if attention == "flash" and (head_size % 8 or head_size > 256):
            raise ValueError(
                f"attention='flash' needs a multiple of 8 up to 256 as the size of a head, not {head_size}"
            )
        self.reads: Reads = reads
        self.attention, self.activation_checkpointing = backend(attention), activation_checkpointing
        self.vocab_embed = TokenEmbedding(num_states, hidden_size)
        self.sigma_map = NoiseEmbedding(cond_dim)
        self.rotary_emb = Rotary(hidden_size // n_heads)
        self.blocks = nn.ModuleList(Block(hidden_size, n_heads, cond_dim, dropout) for _ in range(n_blocks))
        self.output_layer = OutputLayer(hidden_size, num_states, cond_dim)

    @property
    def head(self) -> nn.Linear:
        """The linear map from features to S logits."""
        return self.output_layer.linear

    def forward(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Features [B, L, D] of noised sequences.

        Rotary positions count along the row: attention depends on differences of positions alone, which are those
        within a document.

        Args:
            x: States [B, L].
            level: Noise level [B] or [B, L].
            cond: Not supported; must be None.
            documents: Document [B, L] of each position, which attends to the positions of its document; None: to all.

        Raises:
            UserError: A condition is given, or the attention backend cannot run here.
        """
        if cond is not None:
            raise UserError(
                "model_ddit takes no condition: leave cond unset, or choose a model that supports conditions."
            )
        c = F.silu(self.sigma_map(self._read(level)))
        c = c[:, None] if level.sigma.ndim == 1 else c
        rotation, attend = self.rotary_emb(x.shape[1]), self.attention(documents)
        features = self.vocab_embed(x)
        for block in self.blocks:
            if self.activation_checkpointing and torch.is_grad_enabled():
                features = checkpoint(block, features, c, rotation, attend, use_reentrant=False)
            else:
                features = block(features, c, rotation, attend)
        return self.output_layer(features, c)

    def _read(self, level: NoiseLevel) -> Float32[Tensor, "*shape"]:
        """What the network is given of the noise level [B] or [B, L]."""
        return {"sigma": level.sigma, "time": level.t, "nothing": torch.zeros_like(level.sigma)}[self.reads]


@hookimpl
def sedd_model() -> type[Backbone]:
    """The class of this plugin."""
    return DDiT
