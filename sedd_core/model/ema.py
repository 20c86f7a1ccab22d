"""Exponential moving average of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..distributed.sharding import whole
from ..maths.numerics import to_float64
from ..maths.rounding import Storage


class EMA:
    """Exponential moving average of the parameters that require a gradient, with the published warm-up of its decay.

    At the n-th update: average += (1 - d) (parameter - average), d = min(decay, (1 + n) / (10 + n)), so that the
    initial parameters are forgotten quickly.

    Args:
        parameters: Parameters to average.
        decay: Decay rate of the average per update, once warmed up.
        storage: How the average is kept between updates.
        seed: Random seed of its rounding.
    """

    def __init__(
        self, parameters: Iterable[Tensor], decay: float, storage: Storage | None = None, seed: int = 0
    ) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.storage, self.seed, self.updates = storage or Storage(), seed, 0
        self.average = [self._kept(p.detach().clone(), index) for index, p in enumerate(self.parameters)]
        self.decay = decay

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the current parameters."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        if self.storage.plain:
            torch._foreach_lerp_(self.average, self.parameters, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
            return
        for index, (average, parameter) in enumerate(zip(self.average, self.parameters, strict=True)):
            exact = average.to(parameter).lerp_(parameter, 1 - decay)
            average.copy_(self._kept(exact, index))

    def _kept(self, values: Tensor, index: int) -> Tensor:
        return self.storage.put(values, self.seed, "average", self.updates, index)

    def by_parameter(self) -> dict[Tensor, Tensor]:
        """The average of each parameter."""
        return dict(zip(self.parameters, self.average, strict=True))

    @torch.no_grad()
    def distance(self) -> float:
        """Relative distance |parameters - average| / |parameters|."""
        difference = sum(
            to_float64(p - a.to(p)).square().sum() for p, a in zip(self.parameters, self.average, strict=True)
        )
        size = sum(to_float64(p).square().sum() for p in self.parameters)
        return (whole(torch.as_tensor(difference)) / whole(torch.as_tensor(size))).sqrt().item()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Context in which the parameters have the values of their average; what is loaded into them becomes it."""
        if self.storage.plain:
            self._swap()
            try:
                yield
            finally:
                self._swap()
            return
        saved = [parameter.detach().to(self.storage.place(parameter), copy=True) for parameter in self.parameters]
        self._copy(self.average, self.parameters)
        try:
            yield
        finally:
            self._copy(self.parameters, self.average)
            self._copy(saved, self.parameters)

    @torch.no_grad()
    def _copy(self, sources: Iterable[Tensor], targets: Iterable[Tensor]) -> None:
        for source, target in zip(sources, targets, strict=True):
            target.copy_(source)

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self.parameters, self.average, strict=True):
            saved = parameter.clone()
            parameter.copy_(average)
            average.copy_(saved)
