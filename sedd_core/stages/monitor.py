"""The monitor stage: where metrics and texts of a run are displayed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path


class Monitor(ABC):
    """Abstract monitor: receives the metrics of a run, in its main process. Constructing one touches no file."""

    @abstractmethod
    def start(self, folder: Path, step: int) -> None:
        """Begin in a run folder, or continue there after `step`: what was received of later steps is removed.

        What is received again of `step` itself replaces what is there: a kill may come before the run knows that it
        is.

        Args:
            folder: The run folder.
            step: Number of updates done.
        """

    @abstractmethod
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Show metrics.

        Args:
            values: Values by name; names are grouped by the part before a slash.
            step: Number of updates done.
        """

    @abstractmethod
    def text(self, name: str, text: str, step: int) -> None:
        """Show a text, unchanged."""

    @abstractmethod
    def hyperparameters(self, values: Mapping[str, bool | int | float | str], figures: Mapping[str, float]) -> None:
        """Show the settings and results of the run, for comparing runs.

        Args:
            values: Settings by path.
            figures: Results by the names of their scalars.
        """

    def flush(self) -> None:
        """Write what was received to the disk; not needed where nothing is buffered."""
        return

    @abstractmethod
    def close(self) -> None:
        """Write what is still buffered, and end."""
