"""The sequences, strata and microbatches of an update."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ..distributed.world import World
from ..errors import UserError
from ..maths.draws import Draws, permutation
from ..stages import Backbone, Batch
from .settings import Training

TIME_BINS = 10
"""Number of equal bins of diffusion time for which the mean loss is reported."""
MAX_LISTED_DIVISORS = 4096
"""Largest divisor of a batch size that an error message lists."""


def accumulation(training: Training, processes: int) -> int:
    """Gradient-accumulation steps per update: `accum`, or the fewest that `microbatch` allows.

    Args:
        training: Batch settings.
        processes: Number of processes of the run.
    """
    share, rest = divmod(training.batch_size, processes)
    if training.microbatch is None or rest:  # a remainder is rejected by `check_batch_divides`
        return training.accum
    fewest = -(-share // training.microbatch)
    return next(n for n in range(fewest, share + 1) if share % n == 0)


def check_batch_divides(training: Training, processes: int) -> None:
    """Check that the batch divides evenly into the microbatches of all processes.

    Args:
        training: Batch settings.
        processes: Number of processes of the run.

    Raises:
        UserError: It does not; with the numbers that divide it.
    """
    size, accum = training.batch_size, accumulation(training, processes)
    if size % (processes * accum):
        divisors = ", ".join(str(n) for n in range(1, min(size, MAX_LISTED_DIVISORS) + 1) if size % n == 0)
        raise UserError(
            f"training.batch_size={size} cannot be divided among {processes} processes with {accum} accumulation "
            f"steps each: the number of processes times training.accum must be one of {divisors}."
        )


def microbatches(training: Training, world: World) -> list[Int64[Tensor, " b"]]:
    """Indices [b] into the global batch of each microbatch of this process.

    Strided, not contiguous: stratified times increase with the index, so contiguous blocks would give one process
    only low noise and another only high noise, and the slowest would delay all.

    Args:
        training: Batch settings.
        world: Processes of the run.

    Raises:
        UserError: See `check_batch_divides`.
    """
    check_batch_divides(training, world.size)
    return list(
        torch.arange(training.batch_size).view(-1, accumulation(training, world.size), world.size)[:, :, world.rank].T
    )


def draws_of(training: Training, seed: int, indices: Int64[Tensor, " B"], step: int) -> Draws:
    """Random numbers of sequences at a step, with strata over the global batch where times are stratified.

    Args:
        training: Batch settings.
        seed: Random seed of the run.
        indices: Indices [B] of the sequences in the global batch.
        step: Index of the step, from 0.
    """
    return Draws(seed, indices, step, batch_size=training.batch_size if training.times == "stratified" else None)


def loss_by_time_bin(t: Float64[Tensor, " B"] | None, values: Float64[Tensor, "N B"]) -> Float64[Tensor, "N bins"]:
    """Sum values of sequences in each of TIME_BINS equal bins of their times.

    Args:
        t: Times [B]; None: all sequences are in the first bin.
        values: Values [N, B].

    Returns:
        Sums [N, TIME_BINS].
    """
    t = values.new_zeros(values.shape[1]) if t is None else t
    time_bin = (t * TIME_BINS).long().clamp(max=TIME_BINS - 1)
    return values @ (time_bin[:, None] == torch.arange(TIME_BINS, device=t.device)).double()


class ShuffledIndices:
    """The order of the training sequences: one permutation per epoch, a function of (seed, epoch).

    Args:
        size: Number of training sequences.
        seed: Random seed of the run.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self._epoch = -1, torch.empty(0, dtype=torch.int64)
        """The epoch used last and its permutation; replaced as one, since threads share it."""

    def indices(self, step: int, batch_size: int) -> Int64[Tensor, " B"]:
        """Indices [B] of the sequences in a step's global batch.

        Args:
            step: Index of the step, from 0.
            batch_size: Sequences per global batch.
        """
        positions = torch.arange(step * batch_size, (step + 1) * batch_size)
        indices = torch.empty_like(positions)
        for epoch in positions.div(self.size, rounding_mode="floor").unique().tolist():
            known, order = self._epoch
            if epoch != known:
                order = permutation(self.size, self.seed, f"epoch {epoch}")
                self._epoch = epoch, order
            inside = positions // self.size == epoch
            indices[inside] = order[positions[inside] % self.size]
        return indices


def drop_labels(batch: Batch, draws: Draws, share: float, backbone: Backbone) -> Batch:
    """The batch with the condition of each sequence replaced, with some probability, by that of none.

    Args:
        batch: Sequences with conditions.
        draws: Random numbers of these sequences at this step.
        share: Probability.
        backbone: Network, which knows what stands for no condition.

    Raises:
        UserError: The sequences, or the network, have no conditions.
    """
    if batch.cond is None:
        raise UserError(f"training.label_dropout={share} needs data with conditions: set 0, or choose such data.")
    dropped = draws.uniform("label dropout", 1)[:, 0] < share
    return batch._replace(cond=backbone.without_cond(batch.cond, dropped))
