"""The evaluator stage: figures of a model on validation data, and what an evaluator sees of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from ..record.figures import Figure
from ..text.codec import Codec
from .data import Sequences
from .network import ScoreNetwork
from .noise import Noise

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EvalData:
    """The data of an evaluation."""

    codec: Codec
    """Codec between text and tokens."""
    train: Sequences | None
    """Training sequences; None in an `Evaluate` run, which reads validation data alone."""
    valid_sets: dict[str, Sequences]
    """Validation sequences by name of the data set; the run's own data comes first."""


@runtime_checkable
class EvalContext(Protocol):
    """What an evaluator sees of the run: its seed and its processes.

    Every process calls `evaluate`; the work is divided by `share`, and its results meet in `gather`.
    """

    @property
    def seed(self) -> int:
        """Random seed of the run. Address draws by the index of a sequence, so that no share changes them."""
        ...

    @property
    def t_min(self) -> float:
        """Smallest diffusion time of training and validation."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the model's inputs."""
        ...

    @property
    def final(self) -> bool:
        """Whether this is the evaluation at the end of the run, which reports in full."""
        ...

    def share(self, count: int) -> Int64[Tensor, " n"]:
        """Indices [n] of `count` items that this process handles; index 0 is the main process's."""
        ...

    def gather(self, work: Callable[[], T]) -> list[T]:
        """Run `work` in every process; a failure in one ends all.

        Code that can fail in one process alone (all that touches data or the model) belongs in `work`.

        Returns:
            Results of all processes by rank, in every process.
        """
        ...

    def track(self, items: Sequence[T], title: str) -> Iterator[T]:
        """Iterate over items with a progress bar, and end the evaluation when a signal requests a stop."""
        ...

    def report(self, text: str) -> None:
        """Append text to the run's validation.txt; ignored except in the final evaluation."""
        ...

    def save(self, name: str, text: str) -> None:
        """Write a file into the run's folder, called in every process; ignored except in the final evaluation."""
        ...


class Evaluator(ABC):
    """Abstract evaluation of a model, during training and at its end; the framework logs the figures.

    It is called in every process, without gradients, on the averaged weights in evaluation mode, and leaves the model
    unchanged. Its figures depend on neither the number of processes nor the batch size, up to rounding.
    """

    @abstractmethod
    def evaluate(self, model: ScoreNetwork, noise: Noise, data: EvalData, context: EvalContext) -> list[Figure]:
        """Measure the model on validation data.

        Args:
            model: Score model.
            noise: Noise schedule.
            data: Validation sets, and the training data for comparison.
            context: Seed and processes of the run.

        Returns:
            Figures, the same in every process; no two with the same set, name and unit.
        """

    def rehearse(self, model: ScoreNetwork, noise: Noise, data: EvalData, context: EvalContext) -> None:
        """Run the most expensive step of `evaluate` once and discard the result, before the first update.

        Args: as in `evaluate`. A rehearsal shows whether the memory suffices; by default there is none.
        """
        return
