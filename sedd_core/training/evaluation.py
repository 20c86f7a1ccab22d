"""Evaluators: what is measured and sampled with the averaged weights, during training and at its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from ..model.score import ScoreModel
from ..record.figures import Figure
from ..stages import Noise, Sequences
from ..text.codec import Codec


@dataclass(frozen=True)
class Subject:
    """What evaluators evaluate: the model and its data."""

    model: ScoreModel
    """Score model; while an evaluator runs, its parameters are the averaged ones."""
    noise: Noise
    """Noise schedule."""
    codec: Codec
    """Tokenizer."""
    train: Sequences
    """Training sequences."""
    valid_sets: dict[str, Sequences]
    """Validation sequences by name of the data set; the run's own data comes first."""
    t_min: float
    """Smallest diffusion time of training and validation."""


class Evaluator(ABC):
    """Abstract evaluation. All processes share the work; the main process writes the results.

    To add a metric, subclass this (as `training.validation.BoundEvaluator` does) and list it in
    `runs.train.Train._evaluators`.
    """

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


Evaluators = Sequence[Evaluator]
