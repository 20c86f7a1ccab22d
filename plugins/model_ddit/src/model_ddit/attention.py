"""Attention backends: bidirectional attention within rows, or within each document of a row.

A backend is called once per forward pass with the documents of the rows, and returns the function that every block
calls with its queries, keys and values. Each is a module of its own, imported only where it is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

Name = Literal["sdpa", "flash", "flex"]
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention output [B, L, H, d] of queries, keys and values [B, L, H, d]."""
Backend = Callable[[Int64[Tensor, "B L"] | None], Attend]
"""The attention function of rows, given the document [B, L] of each position; None: each row is one document."""


def is_counted() -> bool:
    """Whether a dispatch mode runs, as in estimates of memory and counts of operations: these know `sdpa` alone."""
    return not torch.compiler.is_compiling() and torch._C._len_torch_dispatch_stack() > 0


def backend(name: Name) -> Backend:
    """The attention backend of this name.

    Args:
        name: Name of the backend.
    """
    if name == "sdpa":
        from . import sdpa as module
    elif name == "flash":
        from . import flash as module
    else:
        from . import flex as module
    return module.attention
