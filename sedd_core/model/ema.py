"""Exponential moving average of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..distributed.sharding import whole
from ..maths.numerics import to_float64


class EMA:
    """Exponential moving average of the parameters that require a gradient, with the published warm-up of its decay.

    At the n-th update: average += (1 - d) (parameter - average), d = min(decay, (1 + n) / (10 + n)), so that the
    initial parameters are forgotten quickly.

    Args:
        parameters: Parameters to average.
        decay: Decay rate of the average per update, once warmed up.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.average = [p.detach().clone() for p in self.parameters]
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the current parameters."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.average, self.parameters, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    def by_parameter(self) -> dict[Tensor, Tensor]:
        """The average of each parameter."""
        return dict(zip(self.parameters, self.average, strict=True))

    @torch.no_grad()
    def distance(self) -> float:
        """Relative distance |parameters - average| / |parameters|."""
        difference = sum(to_float64(p - a).square().sum() for p, a in zip(self.parameters, self.average, strict=True))
        size = sum(to_float64(p).square().sum() for p in self.parameters)
        return (whole(torch.as_tensor(difference)) / whole(torch.as_tensor(size))).sqrt().item()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Context in which the parameters have the values of their average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self.parameters, self.average, strict=True):
            saved = parameter.clone()
            parameter.copy_(average)
            average.copy_(saved)
