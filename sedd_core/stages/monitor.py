"""The monitor stage: receives metrics, samples and settings of a run for display."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path


class Monitor(ABC):
    """Abstract monitor: receives the metrics of a run in the main process. Construction accesses no files."""

    @abstractmethod
    def start(self, folder: Path, step: int) -> None:
        """Start logging in a run folder, or resume after `step` and remove the entries of later steps.

        Entries of `step` itself that are logged again replace the existing ones: a run may be killed after an entry
        is written and before its checkpoint is.

        Args:
            folder: The run folder.
            step: Number of updates done.
        """

    @abstractmethod
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics.

        Args:
            values: Values by name; names are grouped by the part before a slash.
            step: Number of updates done.
        """

    @abstractmethod
    def text(self, name: str, text: str, step: int) -> None:
        """Log a text verbatim.

        Args:
            name: Name of the text.
            text: The text.
            step: Number of updates done.
        """

    @abstractmethod
    def hyperparameters(self, values: Mapping[str, bool | int | float | str], figures: Mapping[str, float]) -> None:
        """Log the settings and results of the run, for comparison between runs.

        Args:
            values: Settings by path.
            figures: Results by the names of their metrics.
        """

    def flush(self) -> None:
        """Write buffered entries to disk; a no-op for unbuffered monitors."""
        return

    @abstractmethod
    def close(self) -> None:
        """Write buffered entries to disk and release all resources."""
