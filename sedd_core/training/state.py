"""The trainer's state of a checkpoint, checked against the trainer that goes on from it: a file may say anything."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")


def alike(value: Any, own: Any) -> bool:
    """Whether a value is made as one's own is: types, lengths, shapes; of dictionaries, what both have."""
    if isinstance(own, Tensor) or isinstance(value, Tensor):
        return isinstance(own, Tensor) and isinstance(value, Tensor) and value.shape == own.shape
    if isinstance(own, dict):
        return isinstance(value, dict) and all(alike(value[name], own[name]) for name in own if name in value)
    if isinstance(own, list | tuple):
        same = isinstance(value, list | tuple) and len(value) == len(own)
        return same and all(map(alike, value, own))
    if isinstance(own, float):
        return type(value) in (int, float)
    if isinstance(own, bool) and value is None:  # torch's choice of a kernel, saved on another device
        return True
    return own is None or type(value) is type(own)


def check_optimizer_state(state: Any, optimizer: torch.optim.Optimizer) -> None:
    """ValueError where an optimizer's state does not fit; of AdamW's, its moments too, which torch does not look at.

    Args:
        state: What `optimizer.state_dict()` gave when it was saved.
        optimizer: The one that is to go on from it.
    """
    own = optimizer.state_dict()
    if not (isinstance(state, dict) and {"state", "param_groups"} <= set(state)):
        raise ValueError("it has no state or no groups")
    if not alike(state["param_groups"], own["param_groups"]):
        raise ValueError("its groups differ")
    if type(optimizer) is not torch.optim.AdamW:
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        entry = state["state"].get(index)
        if not entry:  # one that no gradient has reached
            continue
        wanted = {"step": torch.zeros(()), **dict.fromkeys(MOMENTS, parameter)}
        if not {"step", *MOMENTS[:2]} <= set(entry) <= set(wanted) or not alike(entry, wanted):
            raise ValueError(f"its moments of parameter {index} have other names or shapes")
        if not 0 <= float(entry["step"]) < 2**53:
            raise ValueError(f"parameter {index} was updated {float(entry['step'])} times")
