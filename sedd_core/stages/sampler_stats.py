"""Statistics of a sampler: network calls, and probability that its steps clip."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from ..errors import UserError


@dataclass
class SamplerStats:
    """Statistics of a sampler. Positions that cannot leave their state, such as fixed tokens, are not counted."""

    calls: int = 0
    """Number of network calls."""
    positions: int = 0
    """Number of positions drawn."""
    clipped: float = 0.0
    """Clipped probability, summed over positions: the share of each distribution beyond probability one."""

    def add(self, leave: Float64[Tensor, " N"], stay: Float64[Tensor, " N"], total: Float64[Tensor, " N"]) -> None:
        """Count N positions and their clipped probability.

        Args:
            leave: Weights [N] of leaving the current state.
            stay: Weights [N] of staying.
            total: Sums [N] of the two weights without clipping.

        Raises:
            UserError: Weights are not finite.
        """
        mass = leave + stay
        excess = (1 - total / mass.masked_fill(mass == 0, 1.0)).clamp(min=0).sum()
        clipped, moving = torch.stack([excess, (leave > 0).sum().double()]).tolist()
        if not math.isfinite(clipped):
            raise UserError(
                "The model produced NaN or infinite scores, so no tokens can be drawn: its training diverged, or its "
                "weights are damaged. Use an earlier checkpoint."
            )
        self.positions += int(moving)
        self.clipped += clipped

    def __add__(self, other: SamplerStats) -> SamplerStats:
        """The sum of two statistics."""
        return SamplerStats(self.calls + other.calls, self.positions + other.positions, self.clipped + other.clipped)

    @property
    def clipped_per_position(self) -> float:
        """Mean clipped probability per position, between 0 and 1."""
        return self.clipped / max(self.positions, 1)
