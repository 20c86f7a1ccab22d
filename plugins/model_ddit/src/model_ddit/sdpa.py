"""Attention by torch's `scaled_dot_product_attention`: the reference that the other backends are compared with."""

from __future__ import annotations

from functools import partial

from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from .attention import Attend


def attention(documents: Int64[Tensor, "B L"] | None) -> Attend:
    """See `attention.Backend`; documents become a block-diagonal mask."""
    mask = None if documents is None else documents[:, None, :, None] == documents[:, None, None, :]
    return partial(attend, mask=mask)


def attend(
    q: Float[Tensor, "B L H d"],
    k: Float[Tensor, "B M H d"],
    v: Float[Tensor, "B M H d"],
    mask: Bool[Tensor, "#B 1 L M"] | None,
) -> Float[Tensor, "B L H d"]:
    """Attention output [B, L, H, d].

    Args:
        q: Queries [B, L, H, d].
        k: Keys [B, M, H, d].
        v: Values [B, M, H, d].
        mask: Pairs [B, 1, L, M] of queries and the keys that they attend to, for all rows alike if B is 1; None: all.
    """
    by_head = (tensor.transpose(1, 2) for tensor in (q, k, v))
    return F.scaled_dot_product_attention(*by_head, attn_mask=mask).transpose(1, 2)
