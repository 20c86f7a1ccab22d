"""Which sequences, times and microbatches an update consists of."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ..distributed.world import World
from ..errors import UserError
from ..maths.draws import Draws, permutation
from .settings import Training

TIME_BINS = 10
"""Equal parts of the time, whose mean losses are told apart."""
MOST_PIECES = 4096
"""Up to which the ways to divide a batch are listed."""


def accumulation(training: Training, processes: int) -> int:
    """Parts in which each process takes its share of a batch: `accum`, or the fewest that `microbatch` allows."""
    share, rest = divmod(training.batch_size, processes)
    if training.microbatch is None or rest:  # a rest is refused by `check_parts`
        return training.accum
    most = training.microbatch
    return next(n for n in range(-(-share // most), share + 1) if share % n == 0)


def check_parts(training: Training, processes: int) -> None:
    """UserError when the batch cannot be divided among so many processes, and the parts of each."""
    size, accum = training.batch_size, accumulation(training, processes)
    if size % (processes * accum):
        divisors = ", ".join(str(n) for n in range(1, min(size, MOST_PIECES) + 1) if size % n == 0)
        raise UserError(
            f"training.batch_size={size} cannot be divided among {processes} processes in {accum} parts: "
            f"processes times training.accum must be one of {divisors}."
        )


def microbatches(training: Training, world: World) -> list[Int64[Tensor, " b"]]:
    """For each part of an update, which sequences of the global batch this process takes. Errors: `check_parts`.

    Every (processes x parts)-th: stratified times rise with the index, so that blocks of neighbors would give one
    process all the little noise, and the one for which all wait all the masks.
    """
    check_parts(training, world.size)
    return list(
        torch.arange(training.batch_size).view(-1, accumulation(training, world.size), world.size)[:, :, world.rank].T
    )


def draw_times(draws: Draws, training: Training) -> Float64[Tensor, " B"]:
    """Times in (t_min, 1), one a sequence: independent, or one in each of B equal parts."""
    uniform = draws.uniform("time", 1)[:, 0]
    if training.times == "stratified":
        uniform = (draws.indices + uniform) / training.batch_size
    return training.t_min + (1 - training.t_min) * uniform


def loss_by_time_bin(t: Float64[Tensor, " B"], values: Float64[Tensor, "N B"]) -> Float64[Tensor, "N levels"]:
    """Sums of values of sequences by the part of the time that theirs lies in."""
    level = (t * TIME_BINS).long().clamp(max=TIME_BINS - 1)
    return values @ (level[:, None] == torch.arange(TIME_BINS, device=t.device)).double()


class ShuffledIndices:
    """The order of training: a new permutation of the sequences each epoch, a function of (seed, epoch)."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.int64)

    def indices(self, step: int, batch_size: int) -> Int64[Tensor, " B"]:
        """Which sequences the batch of a step holds."""
        places = torch.arange(step * batch_size, (step + 1) * batch_size)
        indices = torch.empty_like(places)
        for epoch in places.div(self.size, rounding_mode="floor").unique().tolist():
            if epoch != self._epoch:
                self._epoch, self._permutation = epoch, permutation(self.size, self.seed, f"epoch {epoch}")
            inside = places // self.size == epoch
            indices[inside] = self._permutation[places[inside] % self.size]
        return indices
