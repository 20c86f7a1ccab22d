"""AdamW whose moments are kept in bfloat16, or on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from ..maths.rounding import Storage

MOMENTS = ("exp_avg", "exp_avg_sq")


class CompactAdamW(torch.optim.AdamW):
    """torch's AdamW, one parameter after another: only the moments of one are in float32 on its device at a time.

    Args:
        parameters: Parameters to train.
        storage: How the moments are kept.
        settings: Settings of `torch.optim.AdamW`.
    """

    def __init__(self, parameters: list[nn.Parameter], storage: Storage, **settings: Any) -> None:
        super().__init__(parameters, **settings)
        self.storage, self.updates = storage, 0

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Perform one update. Args: see `torch.optim.AdamW.step`; there is no closure."""
        assert closure is None
        self.updates += 1
        for group in self.param_groups:
            for index, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    self._update(parameter, group, index)

    def _update(self, parameter: Tensor, group: dict[str, Any], index: int) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros((), device=parameter.device if group["fused"] else "cpu")
        moments = [state.get(name, torch.zeros(())).to(parameter, copy=False).expand_as(parameter) for name in MOMENTS]
        moments = [moment.contiguous() for moment in moments]
        adamw(
            *([parameter], [gradient], [moments[0]], [moments[1]], [], [state["step"]]),
            **{name: group[name] for name in ("lr", "weight_decay", "eps", "maximize", "amsgrad", "fused")},
            **dict(zip(("beta1", "beta2"), group["betas"], strict=True)),
            foreach=False,
        )
        self._keep(state, moments, index)

    def _keep(self, state: dict[str, Any], moments: list[Tensor], index: int) -> None:
        for name, moment in zip(MOMENTS, moments, strict=True):
            state[name] = self.storage.put(moment, name, self.updates, index)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load moments, which torch converts to the dtype and device of their parameters, and keep them as before."""
        super().load_state_dict(state_dict)
        self.updates = max((int(state["step"]) for state in self.state.values() if state), default=0)
        for group in self.param_groups:
            for index, parameter in enumerate(group["params"]):
                if self.state[parameter]:
                    self._keep(self.state[parameter], [self.state[parameter][name] for name in MOMENTS], index)
