"""Reading the golden figures, for the parity tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "golden"


def arrays(name: str) -> dict[str, Tensor]:
    """Every array of a file, as tensors."""
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return {key: torch.tensor(stored[key]) for key in stored}


def close(value: Tensor, truth: Tensor, *, rtol: float, atol: float = 0.0) -> None:
    """Within atol + rtol |truth| everywhere, compared in float64."""
    torch.testing.assert_close(value.double(), truth.double(), rtol=rtol, atol=atol)
