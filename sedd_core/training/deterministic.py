"""Deterministic kernels on a GPU, for runs that can be repeated bit for bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic_kernels(wanted: bool) -> Iterator[None]:
    """Within: torch uses deterministic kernels where it has them, and warns of each operation that has none.

    Args:
        wanted: Whether to do so; enter before the first computation on the GPU, since cuBLAS reads its variable then.
    """
    before, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
