"""Layers of the diffusion transformer.

Shapes: batch B, length L, width D = hidden_size, H heads of size d = D / H, conditioning width C = cond_dim,
S states; M = 1 for one noise level per sequence, M = L for one per position.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Attend

FREQUENCIES = 128
"""Number of frequencies in the sinusoidal embedding of the noise level."""


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

    def forward(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape C"]:
        fractions = torch.arange(FREQUENCIES, dtype=torch.float32, device=value.device) / FREQUENCIES
        angles = value[..., None] * torch.exp(-math.log(10000.0) * fractions)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], -1))


class LabelEmbedding(nn.Module):
    """Learned embedding of each class, and of no class in the last row.

    Args:
        num_classes: Number of classes.
        width: Width C of the embedding.
    """

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.embedding_table = nn.Embedding(num_classes + 1, width)

    def forward(self, labels: Int64[Tensor, "*shape"]) -> Float[Tensor, "*shape C"]:
        return self.embedding_table(labels)


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
    x: Float[Tensor, "B L H d"], rotation: tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]]
) -> Float[Tensor, "B L H d"]:
    """Apply rotary position embeddings to queries or keys.

    Args:
        x: Queries or keys [B, L, H, d].
        rotation: Cosines [L, d] and sines [L, d] of the rotation angles, from `Rotary`.

    Returns:
        Rotated queries or keys [B, L, H, d], in the dtype of x.
    """
    cos, sin = (part[:, None] for part in rotation)
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
        attend: Attend,
    ) -> Float[Tensor, "B L D"]:
        """Features [B, L, D] after the block.

        Args:
            x: Features [B, L, D].
            c: Embeddings of the noise level [B, M, C].
            rotation: Cosines [L, d] and sines [L, d], from `Rotary`.
            attend: Attention function, from an attention backend.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c).chunk(6, -1)
        x = x + gate1 * self._drop(self._attend(modulate(self.norm1(x), shift1, scale1), rotation, attend))
        return x + gate2 * self._drop(self.mlp(modulate(self.norm2(x), shift2, scale2)))

    def _attend(
        self, x: Float[Tensor, "B L D"], rotation: tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]], attend: Attend
    ) -> Float[Tensor, "B L D"]:
        q, k, v = rearrange(self.attn_qkv(x), "b l (three h d) -> three b l h d", three=3, h=self.n_heads)
        return self.attn_out(attend(rotate(q, rotation), rotate(k, rotation), v).flatten(2))

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


def zeroed(linear: nn.Linear) -> nn.Linear:
    """Initialize the weight and bias of a layer to zero, and return it."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
