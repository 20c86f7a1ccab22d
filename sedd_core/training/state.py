"""Checks of the trainer state in a checkpoint, which may be damaged or of another run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .compact_adamw import CompactAdamW

MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")


def same_structure(value: Any, own: Any) -> bool:
    """Whether a stored value has the structure of an existing one: types, lengths and shapes.

    Args:
        value: Stored value; dictionaries are compared in the keys that both contain.
        own: Existing value; None matches any.
    """
    if isinstance(own, Tensor) or isinstance(value, Tensor):
        return isinstance(own, Tensor) and isinstance(value, Tensor) and value.shape == own.shape
    if isinstance(own, dict):
        return isinstance(value, dict) and all(same_structure(value[name], own[name]) for name in own if name in value)
    if isinstance(own, list | tuple):
        same = isinstance(value, list | tuple) and len(value) == len(own)
        return same and all(map(same_structure, value, own))
    if isinstance(own, float):
        return type(value) in (int, float)
    if isinstance(own, bool) and value is None:  # torch's choice of kernel, saved on another device
        return True
    return own is None or type(value) is type(own)


def check_optimizer_state(state: Any, optimizer: torch.optim.Optimizer) -> None:
    """Check that a stored state fits an optimizer, including AdamW's moments, which torch does not check.

    Args:
        state: The value of `optimizer.state_dict()` when it was saved.
        optimizer: The optimizer to load it into.

    Raises:
        ValueError: The state does not fit.
    """
    own = optimizer.state_dict()
    if not (isinstance(state, dict) and {"state", "param_groups"} <= set(state)):
        raise ValueError("it has no state or no parameter groups")
    if not same_structure(state["param_groups"], own["param_groups"]):
        raise ValueError("its parameter groups differ")
    if type(optimizer) not in (torch.optim.AdamW, CompactAdamW):
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        entry = state["state"].get(index)
        if not entry:  # no gradient has reached this parameter
            continue
        expected = {"step": torch.zeros(()), **dict.fromkeys(MOMENTS, parameter)}
        if not {"step", *MOMENTS[:2]} <= set(entry) <= set(expected) or not same_structure(entry, expected):
            raise ValueError(f"its moments of parameter {index} have other names or shapes")
        if not 0 <= float(entry["step"]) < 2**53:
            raise ValueError(f"parameter {index} was updated {float(entry['step'])} times")
