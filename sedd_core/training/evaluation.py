"""Evaluations: what is measured and sampled with the averaged weights, during training and at its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from ..model.score import ScoreModel
from ..record.figures import Figure
from ..stages import EvalData, Noise


@dataclass(frozen=True)
class Subject:
    """What is evaluated: the model on its data."""

    model: ScoreModel
    """Score model; during an evaluation, its parameters are the averaged ones."""
    noise: Noise
    """Noise schedule."""
    data: EvalData
    """Codec, training sequences and validation sets."""
    t_min: float
    """Smallest diffusion time of training and validation."""


class Evaluation(ABC):
    """Abstract task between updates. All processes share the work; the main process writes the results."""

    @abstractmethod
    def evaluate(self, step: int) -> None:
        """Evaluate during training.

        Args:
            step: Number of updates done.
        """

    @abstractmethod
    def conclude(self, step: int) -> list[Figure]:
        """Evaluate at the end of training and report in full.

        Args:
            step: Number of updates done.

        Returns:
            The figures that summarize the run.
        """

    @abstractmethod
    def rehearse(self) -> None:
        """Run the most expensive step of an evaluation once and discard the result; see `training.rehearsal`."""


Evaluations = Sequence[Evaluation]
