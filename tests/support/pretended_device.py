"""A device that is played by the type "meta", on which tensors here have numbers.

A mode wraps what is moved there, refuses operations between it and the CPU, as a real device does, and on request
float64 there. It notes where the CPU waits for the device.
"""

from __future__ import annotations

import traceback
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from sedd_core.maths import linear_entropy
from sedd_core.model.score import ScoreModel

aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
READS = {
    *(aten._local_scalar_dense, aten.nonzero, aten.nonzero_static, aten.masked_select, aten.equal, aten.is_nonzero),
    *(aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave),
}
"""Operations whose result or its shape the CPU takes from values on the device."""
INSIDE = {
    torch.ops.sedd_core.linear_entropy.default: linear_entropy._linear_entropy,
    torch.ops.sedd_core.scale_linear_entropy.default: linear_entropy._scale,
}
"""Operators that are opaque to modes; what they do is dispatched anew."""


class There(torch.Tensor):
    """A tensor on the device; its numbers are those of a tensor on the CPU."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> There:
        made = torch.Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls, here.shape, strides=here.stride(), dtype=here.dtype, device="meta", requires_grad=here.requires_grad
        )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return Device().dispatched(func, args, kwargs or {})

    def tolist(self) -> Any:
        """torch's own, which subclasses lack."""
        return self.to("cpu").tolist()


class Device(TorchDispatchMode):
    """The mode.

    Args:
        float64: Whether the device has float64.
    """

    def __init__(self, *, float64: bool = True) -> None:
        super().__init__()
        self.float64 = float64
        self.waits: list[str] = []
        """The operation of each wait for the device, and the line of this project that made it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in INSIDE:
            with self:
                return INSIDE[func]._init_fn(*args, **(kwargs or {}))
        return self.dispatched(func, args, kwargs or {})

    def dispatched(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        there = [tensor for tensor in tensors if isinstance(tensor, There)]
        target = kwargs.get("device")
        goes = target is not None and torch.device(target).type == "meta"
        if not (there or goes):
            return func(*args, **kwargs)
        self._note(func, args, kwargs, goes)
        if func not in COPIES and there and any(t.ndim and not isinstance(t, There) for t in tensors):
            raise RuntimeError(f"{func}: tensors on two devices")
        if target is not None:
            kwargs = {**kwargs, "device": "cpu"}
        plain = tree_map_only(There, lambda tensor: tensor.here, (args, kwargs))
        result = func(*plain[0], **plain[1])
        if not func._schema.returns:
            return None
        if plain[0] and result is plain[0][0]:  # changed in place
            return args[0]
        if func == aten._local_scalar_dense.default or (target is not None and not goes):
            return result
        return tree_map_only(Tensor, self._placed, result)

    def _placed(self, tensor: Tensor) -> There:
        if tensor.dtype == torch.float64 and not self.float64:
            raise TypeError("this device has no float64")
        return There(tensor)

    def _note(self, func: Any, args: Any, kwargs: dict[str, Any], goes: bool) -> None:
        """Note a read of values, a mask as an index, or a copy between the devices that is not asynchronous."""
        masks = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_, aten._unsafe_index)
        reads = func.overloadpacket in READS or (
            masks and any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        )
        if func in COPIES and not kwargs.get("non_blocking"):
            in_place = func is aten.copy_.default
            source, target = isinstance(args[in_place], There), isinstance(args[0], There)
            reads = source != (target if in_place or "device" not in kwargs else goes)
        if reads:
            stack = traceback.extract_stack()
            own = [f"{f.filename}:{f.lineno}" for f in stack if "/sedd_core/" in f.filename or "/src/" in f.filename]
            self.waits.append(f"{func} {own[-1] if own else 'in torch'}")


def moved_there(model: ScoreModel, *process: nn.Module) -> ScoreModel:
    """Move a network, and these parts of the process, as `move_to` does; modules accept There only this way."""
    for module in (inner for part in (model.backbone, *process) for inner in part.modules()):
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(There(parameter.detach()))
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else There(buffer)
    return model


def without_autocast(patch: pytest.MonkeyPatch) -> None:
    """Let the code ask torch about autocast on the device, which has none."""
    autocast, enabled = torch.autocast, torch.is_autocast_enabled
    patch.setattr(torch, "autocast", lambda kind, *a, **k: autocast("cpu" if kind == "meta" else kind, *a, **k))
    patch.setattr(torch, "is_autocast_enabled", lambda kind="cpu": kind != "meta" and enabled(kind))
