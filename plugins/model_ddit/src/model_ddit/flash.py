"""Attention by the kernels of flash-attn: version 4 (`flash_attn.cute`) where it is installed, else version 2.

Both compute in half precision only. What is computed in float32 without a gradient (bounds, samples) is computed by
`sdpa`, which is the same function; training in float32 is refused.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor
from torch.nn import functional as F

from sedd_core import UserError

from . import sdpa
from .attention import Attend, is_counted


def find_kernels() -> Any:
    """The module of flash-attn's functions; None if none is installed."""
    for name in ("flash_attn.cute", "flash_attn"):
        with suppress(ImportError):
            return import_module(name)
    return None


KERNELS = find_kernels()


def attention(documents: Int64[Tensor, "B L"] | None) -> Attend:
    """See `attention.Backend`; finding where documents start synchronizes with the GPU once per forward pass."""
    return partial(attend, documents=documents, starts=None if documents is None else document_starts(documents))


def document_starts(documents: Int64[Tensor, "B L"]) -> Int32[Tensor, " M"]:
    """Start of each document in the run of all rows, followed by the length of the run: M - 1 documents.

    Args:
        documents: Document of each position [B, L]; the positions of a document are adjacent.
    """
    first = F.pad(documents.diff(dim=1) != 0, (1, 0), value=True)
    return F.pad(first.flatten().nonzero()[:, 0], (0, 1), value=documents.numel()).to(torch.int32)


def attend(
    q: Float[Tensor, "B L H d"],
    k: Float[Tensor, "B L H d"],
    v: Float[Tensor, "B L H d"],
    documents: Int64[Tensor, "B L"] | None,
    starts: Int32[Tensor, " M"] | None,
) -> Float[Tensor, "B L H d"]:
    """Attention output [B, L, H, d].

    Args:
        q: Queries [B, L, H, d] in bfloat16 or float16; in float32 only without a gradient.
        k: Keys [B, L, H, d].
        v: Values [B, L, H, d].
        documents: Document of each position [B, L].
        starts: Starts of the documents, from `document_starts`.

    Raises:
        UserError: flash-attn is not installed, or the network is trained in float32.
    """
    full = q.dtype not in (torch.bfloat16, torch.float16)
    if is_counted() or (full and not torch.is_grad_enabled()):
        return sdpa.attention(documents)(q, k, v)
    if full:
        raise UserError(
            f"model.attention=flash computes in half precision, but training is in {str(q.dtype).partition('.')[2]}: "
            "set training.precision=bf16, or model.attention=sdpa."
        )
    if KERNELS is None:
        raise UserError(
            "model.attention=flash needs flash-attn, which is not installed: pip install 'sedd-model-ddit[flash]' on "
            "a machine with an NVIDIA GPU and CUDA's compiler (or flash-attn-4, which needs no compiler), or set "
            "model.attention=sdpa."
        )
    if starts is None:
        out = KERNELS.flash_attn_func(q, k, v)
    else:
        flat, ends = (tensor.flatten(0, 1) for tensor in (q, k, v)), {"cu_seqlens_q": starts, "cu_seqlens_k": starts}
        out = KERNELS.flash_attn_varlen_func(*flat, **ends, max_seqlen_q=q.shape[1], max_seqlen_k=q.shape[1])
    return (out[0] if isinstance(out, tuple) else out).view(q.shape)  # version 4 returns the log-sum-exp too
