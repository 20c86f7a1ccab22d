"""Draws that are no chance: evenly spread points, with which a mean over sequences is an integral to within 1e-4."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sedd_core.maths.draws import Draws

COUNT, STEP = 28657, 17711
"""Neighboring Fibonacci numbers: (i / COUNT, i STEP / COUNT mod 1) is the most even of lattices in the plane."""


@dataclass(frozen=True)
class Lattice(Draws):
    """COUNT sequences of one position: the first stream that is asked for takes one axis, the second the other.

    centered: streams whose numbers are all .5 instead, such as strata by which an integral goes anyway.
    """

    seed: int = 0
    indices: Tensor = field(default_factory=lambda: torch.arange(COUNT))
    centered: tuple[str, ...] = ()
    axes: dict[str, int] = field(default_factory=dict)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """One number for each sequence."""
        assert shape == (1,)
        if stream in self.centered:
            return torch.full((COUNT, 1), 0.5, dtype=torch.float64)
        step = (1, STEP)[self.axes.setdefault(stream, len(self.axes))]
        return ((self.indices * step % COUNT).double() + 0.5)[:, None] / COUNT
