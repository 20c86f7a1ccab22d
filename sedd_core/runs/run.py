"""Base class of runs."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..build.workspace import Workspace
from ..distributed.world import gpu_count
from ..record.figures import Figure


class Run(ABC):
    """A run of `launch.py`: training or sampling, with its parts as fields."""

    ngpus: int | None
    """Number of processes, one per GPU; None: all GPUs of this machine, or one process on a CPU."""

    def processes(self) -> int:
        """Number of processes: `ngpus`, or one per GPU of this machine, or one without GPUs."""
        return self.ngpus or max(gpu_count(), 1)

    @abstractmethod
    def describe(self) -> str:
        """Describe the run and its sizes without reading data or starting anything."""

    def describe_memory(self) -> str:
        """Describe the memory per GPU, where known in advance; "" otherwise. Takes seconds: for dry runs."""
        return ""

    def starts_from(self) -> list[tuple[str, str | None]]:
        """Checkpoints that must exist, each with the name of its format; None: any format."""
        return []

    def warnings(self) -> list[str]:
        """Warnings about settings that work but are unwise, one sentence each."""
        return []

    def check_processes(self, processes: int) -> None:  # noqa: B027 - most runs work with any number
        """Check that the run can be divided among processes.

        Args:
            processes: Number of processes.

        Raises:
            UserError: It cannot be divided.
        """

    def check_contracts(self) -> None:
        """Check the contracts of the parts on a few states; runs without such parts check nothing.

        Raises:
            UserError: A part violates its contract.
        """
        return

    @abstractmethod
    def execute(self, workspace: Workspace) -> list[Figure]:
        """Execute the run.

        Args:
            workspace: Folder, processes and record of the run.

        Returns:
            Figures that a table of runs compares; the table is sorted by the first.
        """
