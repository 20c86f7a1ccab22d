"""The monitor stage: where figures and texts of a run go to be looked at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path


class Monitor(ABC):
    """Told of what happens in a run, by its main process alone. Constructing one touches no file."""

    @abstractmethod
    def start(self, folder: Path, step: int) -> None:
        """Begin in a run's folder, or go on there after `step`: what was told of later steps is forgotten.

        What is told again of `step` itself replaces what is there: a kill may come before the run knows that it is.
        """

    @abstractmethod
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Figures after a step, by name; names are grouped by what stands before a slash."""

    @abstractmethod
    def text(self, name: str, text: str, step: int) -> None:
        """A text, as it is."""

    @abstractmethod
    def hyperparameters(self, values: Mapping[str, bool | int | float | str], figures: Mapping[str, float]) -> None:
        """The run's settings by their paths, and results by the names of their scalars, for comparing runs."""

    def flush(self) -> None:
        """Bring what was told to the disk: the run counts it as kept. Not needed where nothing is held back."""
        return

    @abstractmethod
    def close(self) -> None:
        """Write what is still held back."""
