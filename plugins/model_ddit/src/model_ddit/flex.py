"""Attention by torch's FlexAttention, which skips the blocks of a row that no document spans.

Compiled on a GPU. On a CPU torch has no backward pass for it, so that it evaluates and samples there, but does not
train.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from sedd_core import UserError

from . import sdpa
from .attention import Attend, is_counted


def attention(documents: Int64[Tensor, "B L"] | None) -> Attend:
    """See `attention.Backend`."""
    if is_counted():
        return sdpa.attention(documents)
    return partial(attend, mask=None if documents is None else block_mask(documents))


def block_mask(documents: Int64[Tensor, "B L"]) -> BlockMask:
    """The pairs of positions of the same document, by blocks of 128 x 128.

    Args:
        documents: Document of each position [B, L].
    """
    rows, length = documents.shape
    return create_block_mask(
        lambda row, _head, query, key: documents[row, query] == documents[row, key],
        *(rows, None, length, length),
        device=documents.device,
    )


@cache
def compiled() -> Any:
    """FlexAttention as one kernel; uncompiled it computes every score of a row."""
    return torch.compile(flex_attention)


def attend(
    q: Float[Tensor, "B L H d"],
    k: Float[Tensor, "B L H d"],
    v: Float[Tensor, "B L H d"],
    mask: BlockMask | None,
) -> Float[Tensor, "B L H d"]:
    """Attention output [B, L, H, d].

    Args:
        q: Queries [B, L, H, d].
        k: Keys [B, L, H, d].
        v: Values [B, L, H, d].
        mask: Pairs of positions that attend to each other, from `block_mask`; None: all.

    Raises:
        UserError: The network is trained on a CPU.
    """
    if not q.is_cuda and q.requires_grad and torch.is_grad_enabled():
        raise UserError(
            "model.attention=flex trains on a GPU only: torch has no backward pass of FlexAttention on "
            f"{q.device.type}. Set model.attention=sdpa."
        )
    kernel = compiled() if q.is_cuda else flex_attention
    return kernel(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), block_mask=mask).transpose(1, 2)
