"""The diffusion transformer of SEDD, with the published parameter names.

A DiT (Peebles and Xie 2023) over tokens: pre-norm blocks with shifts, scales and gates computed from the noise level
(adaLN-zero), rotary position embeddings (Su et al. 2021), bidirectional attention, and an untied head.

Shapes: batch B, length L, width D = hidden_size, H heads of size d = D / H, conditioning width C = cond_dim,
S states; M = 1 for one noise level per sequence, M = L for one per position.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from sedd_core import UserError, hookimpl
from sedd_core.stages import Backbone, NoiseLevel

FREQUENCIES = 128
"""Number of frequencies in the sinusoidal embedding of the noise level."""
Reads = Literal["sigma", "time", "nothing"]


class LayerNorm(nn.Module):
    """Layer norm in float32, with a weight and without a bias.

    Args:
        width: Width D of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape D"]:
        with torch.autocast(x.device.type, enabled=False):
            return F.layer_norm(x.to(self.weight.dtype), self.weight.shape, self.weight)


class TokenEmbedding(nn.Module):
    """Learned embedding of each state, with Kaiming-uniform initialization (a = sqrt(5)).

    Args:
        num_states: Number S of states.
        width: Width D of the features.
    """

    def __init__(self, num_states: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(num_states, width))
        nn.init.kaiming_uniform_(self.embedding, a=math.sqrt(5))

    def forward(self, x: Int64[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        return F.embedding(x, self.embedding)


class NoiseEmbedding(nn.Module):
    """Embedding of sigma or of the time: 128 cosines and 128 sines, followed by a two-layer MLP.

    Args:
        width: Width C of the embedding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, value: Float32[Tensor, "*shape"]) -> Float[Tensor, "*shape C"]:
        fractions = torch.arange(FREQUENCIES, dtype=torch.float32, device=value.device) / FREQUENCIES
        angles = value[..., None] * torch.exp(-math.log(10000.0) * fractions)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], -1))


class Rotary(nn.Module):
    """Rotary position embedding: the pair (j, j + d/2) of a head is rotated by the angle position * 10000^(-2j/d).

    Args:
        head_size: Head size d; must be even.

    Source: RoFormer (Su et al. 2021, arXiv 2104.09864), section 3.2.
    """

    inv_freq: Tensor

    def __init__(self, head_size: int) -> None:
        super().__init__()
        even = torch.arange(0, head_size, 2, device="cpu")  # arange on the meta device imports torch._dynamo: 2 s
        self.register_buffer("inv_freq", 10000.0 ** (-even.float() / head_size))

    def forward(self, length: int) -> tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]]:
        """Cosines [L, d] and sines [L, d] of the rotation angles at positions 0 .. length - 1."""
        angles = torch.outer(torch.arange(length, device=self.inv_freq.device).to(self.inv_freq), self.inv_freq)
        angles = torch.cat([angles, angles], -1)
        return angles.cos(), angles.sin()


def rotate(
    x: Float[Tensor, "B H L d"], rotation: tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]]
) -> Float[Tensor, "B H L d"]:
    """Apply rotary position embeddings to queries or keys.

    Args:
        x: Queries or keys [B, H, L, d].
        rotation: Cosines [L, d] and sines [L, d] of the rotation angles, from `Rotary`.

    Returns:
        Rotated queries or keys [B, H, L, d], in the dtype of x.
    """
    cos, sin = rotation
    first, second = x.chunk(2, -1)
    return (x * cos + torch.cat([-second, first], -1) * sin).to(x.dtype)


def modulate(
    x: Float[Tensor, "B L D"], shift: Float[Tensor, "B M D"], scale: Float[Tensor, "B M D"]
) -> Float[Tensor, "B L D"]:
    """Apply an adaptive shift and scale: x (1 + scale) + shift.

    Args:
        x: Normalized features [B, L, D].
        shift: Shifts [B, M, D], per sequence (M = 1) or per position (M = L).
        scale: Scales [B, M, D]; 0 leaves x unchanged.
    """
    return x * (1 + scale) + shift


class Block(nn.Module):
    """Transformer block: attention and a two-layer MLP, each with pre-norm, modulation, gate and residual.

    Args:
        width: Width D of the features.
        n_heads: Number H of attention heads.
        cond_dim: Width C of the embedding of the noise level.
        dropout: Dropout probability after attention and after the MLP.
    """

    def __init__(self, width: int, n_heads: int, cond_dim: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout = dropout
        self.norm1 = LayerNorm(width)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.norm2 = LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.adaLN_modulation = zeroed(nn.Linear(cond_dim, 6 * width))

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        c: Float[Tensor, "B M C"],
        rotation: tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]],
    ) -> Float[Tensor, "B L D"]:
        """Features [B, L, D] after the block.

        Args:
            x: Features [B, L, D].
            c: Embeddings of the noise level [B, M, C].
            rotation: Cosines [L, d] and sines [L, d], from `Rotary`.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c).chunk(6, -1)
        x = x + gate1 * self._drop(self._attend(modulate(self.norm1(x), shift1, scale1), rotation))
        return x + gate2 * self._drop(self.mlp(modulate(self.norm2(x), shift2, scale2)))

    def _attend(
        self, x: Float[Tensor, "B L D"], rotation: tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]]
    ) -> Float[Tensor, "B L D"]:
        q, k, v = rearrange(self.attn_qkv(x), "b l (three h d) -> three b h l d", three=3, h=self.n_heads)
        attended = F.scaled_dot_product_attention(rotate(q, rotation), rotate(k, rotation), v)
        return self.attn_out(rearrange(attended, "b h l d -> b l (h d)"))

    def _drop(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return F.dropout(x, self.dropout, self.training)


class OutputLayer(nn.Module):
    """Final modulated layer norm; holds the linear head too, which `Backbone.logits` applies. Both start at zero.

    Args:
        width: Width D of the features.
        num_states: Number S of states.
        cond_dim: Width C of the embedding of the noise level.
    """

    def __init__(self, width: int, num_states: int, cond_dim: int) -> None:
        super().__init__()
        self.norm_final = LayerNorm(width)
        self.linear = zeroed(nn.Linear(width, num_states))
        self.adaLN_modulation = zeroed(nn.Linear(cond_dim, 2 * width))

    def forward(self, x: Float[Tensor, "B L D"], c: Float[Tensor, "B M C"]) -> Float[Tensor, "B L D"]:
        """Features [B, L, D] for the head, from features [B, L, D] and noise embeddings c [B, M, C]."""
        shift, scale = self.adaLN_modulation(c).chunk(2, -1)
        return modulate(self.norm_final(x), shift, scale)


class DDiT(Backbone):
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

    Raises:
        ValueError: A size is below 1, n_heads does not divide hidden_size into heads of an even size, or dropout is
            not in [0, 1).

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
        self.reads: Reads = reads
        self.vocab_embed = TokenEmbedding(num_states, hidden_size)
        self.sigma_map = NoiseEmbedding(cond_dim)
        self.rotary_emb = Rotary(hidden_size // n_heads)
        self.blocks = nn.ModuleList(Block(hidden_size, n_heads, cond_dim, dropout) for _ in range(n_blocks))
        self.output_layer = OutputLayer(hidden_size, num_states, cond_dim)

    @property
    def head(self) -> nn.Linear:
        """The linear map from features to S logits."""
        return self.output_layer.linear

    def forward(self, x: Int64[Tensor, "B L"], level: NoiseLevel, cond: Tensor | None = None) -> Float[Tensor, "B L D"]:
        """Features [B, L, D] of noised sequences.

        Args:
            x: States [B, L].
            level: Noise level [B] or [B, L].
            cond: Not supported; must be None.

        Raises:
            UserError: A condition is given.
        """
        if cond is not None:
            raise UserError(
                "model_ddit takes no condition: leave cond unset, or choose a model that supports conditions."
            )
        c = F.silu(self.sigma_map(self._read(level)))
        c = c[:, None] if level.sigma.ndim == 1 else c
        rotation = self.rotary_emb(x.shape[1])
        features = self.vocab_embed(x)
        for block in self.blocks:
            features = block(features, c, rotation)
        return self.output_layer(features, c)

    def _read(self, level: NoiseLevel) -> Float32[Tensor, "*shape"]:
        """What the network is given of the noise level [B] or [B, L]."""
        return {"sigma": level.sigma, "time": level.t, "nothing": torch.zeros_like(level.sigma)}[self.reads]


def zeroed(linear: nn.Linear) -> nn.Linear:
    """Initialize the weight and bias of a layer to zero, and return it."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


@hookimpl
def sedd_model() -> type[Backbone]:
    """The class of this plugin."""
    return DDiT
