"""Statistics of a sampler: network calls, and probability that its steps clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from ..errors import UserError
from ..maths.categorical import NOT_FINITE
from .step import EventWeights


@dataclass
class SamplerStats:
    """Statistics of a sampler. Positions that cannot leave their state, such as fixed tokens, are not counted."""

    calls: int = 0
    """Number of network calls."""
    positions: int = 0
    """Number of positions drawn."""
    clipped: float = 0.0
    """Clipped probability, summed over positions: the share of each distribution beyond probability one."""
    reused: int = 0
    """Number of sequences, summed over network calls, whose features a cache had."""

    def add(self, events: Sequence[EventWeights]) -> None:
        """Count the positions of a step and their clipped probability; the one wait for a GPU.

        Args:
            events: Weights of staying and of leaving, of some positions each.

        Raises:
            UserError: Weights are not finite.
        """
        if not events:
            return
        stay, leave, total = (torch.cat(parts) for parts in zip(*events, strict=True))
        mass = leave + stay
        excess = (1 - total / mass.masked_fill(mass == 0, 1.0)).clamp(min=0).sum()
        clipped, moving = torch.stack([excess, (leave > 0).sum().double()]).tolist()
        if not math.isfinite(clipped):
            raise UserError(NOT_FINITE)
        self.positions += int(moving)
        self.clipped += clipped

    def __add__(self, other: SamplerStats) -> SamplerStats:
        """The sum of two statistics."""
        return SamplerStats(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def clipped_per_position(self) -> float:
        """Mean clipped probability per position, between 0 and 1."""
        return self.clipped / max(self.positions, 1)
