"""Moving averages that a file stores as a list without names, in the order of the model's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UserError
from ..tensors import is_plain

BUFFERS = ("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached")
"""Ends of the names of buffers in a model's state: not parameters, therefore not averaged."""


def averaged(weights: dict[str, Tensor], averages: Sequence[Any], path: Path) -> dict[str, Tensor]:
    """Replace each parameter by its average.

    Args:
        weights: Tensors of a model by name, in the order of its modules, buffers among them.
        averages: Averages of the parameters as stored, in that order; scalars of a noise schedule may follow.
        path: File of both, for messages.

    Returns:
        Averages by name, and the buffers.

    Raises:
        UserError: The averages do not fit the weights, or are not dense CPU tensors.
    """
    names = [name for name in weights if not name.endswith(BUFFERS)]
    if not all(map(is_plain, averages)):
        raise UserError(f"{path} is damaged: some of its averages are not dense CPU tensors.")
    if len(averages) < len(names) or any(value.ndim for value in averages[len(names) :]):
        raise UserError(f"The averages in {path} do not fit: {len(averages)} tensors for {len(names)} parameters.")
    for name, value in zip(names, averages, strict=False):
        if value.shape != weights[name].shape:
            raise UserError(
                f"The averages in {path} do not fit: {name} has shape {list(weights[name].shape)}, its average "
                f"{list(value.shape)}. To load the weights without averages: ema=False"
            )
    return weights | dict(zip(names, averages, strict=False))
