"""Evaluators: what is measured and drawn from the averaged weights, during training and at its end."""

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
    """What evaluators evaluate.

    Args:
        model: The model; while an evaluator runs, its parameters are the averaged ones.
        noise: The noise schedule.
        codec: The tokenizer.
        train: The training sequences.
        valid_sets: The validation sequences of each data set by its name, those of the run's own data first.
        t_min: Smallest diffusion time of training and validation.
    """

    model: ScoreModel
    noise: Noise
    codec: Codec
    train: Sequences
    valid_sets: dict[str, Sequences]
    t_min: float


class Evaluator(ABC):
    """One kind of evaluation. All processes share the work; the main one writes."""

    @abstractmethod
    def evaluate(self, step: int) -> None:
        """Evaluate during training, after `step` updates."""

    @abstractmethod
    def conclude(self, step: int) -> list[Figure]:
        """Evaluate at the end of training, after `step` updates, and report in full. Returns the run's figures."""

    @abstractmethod
    def rehearse(self) -> None:
        """Run the largest step of an evaluation once, and keep nothing: see `training.rehearsal`."""


Evaluators = Sequence[Evaluator]
