"""What every run is, and where it works."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..record import Record


@dataclass
class Workspace:
    """A run's folder and record. The folder is made by `open`, when the run knows that it can start.

    config_text: every resolved value and where it was set.
    """

    folder: Path
    record: Record
    config_text: str = ""

    def open(self) -> None:
        """Make the folder, with config.json and config.txt. UserError when it cannot be, or is not empty."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if any(self.folder.iterdir()):
                raise UserError(f"{self.folder} holds something already. Name another folder: --run_folder=...")
            self.record.write(self.folder / "config.json")
            (self.folder / "config.txt").write_text(self.config_text, encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"The run folder {self.folder} cannot be made: {error.strerror}. Name another one: --run_folder=..."
            ) from error

    def write_samples(self, texts: Sequence[str]) -> None:
        """Write each text to its own file, samples/sample_<i>.txt."""
        (self.folder / "samples").mkdir()
        for index, text in enumerate(texts):
            (self.folder / "samples" / f"sample_{index}.txt").write_text(text, encoding="utf-8")


class Run(ABC):
    """Something that `launch.py` runs."""

    @abstractmethod
    def describe(self) -> str:
        """What would happen, with sizes; reads no data and starts nothing."""

    def warnings(self) -> list[str]:
        """What works but is unwise, a sentence each."""
        return []

    @abstractmethod
    def execute(self, workspace: Workspace) -> dict[str, str]:
        """Do it. Returns the figures that a table of runs compares, by name."""
