"""What every run is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from ..build.workspace import Workspace
from ..record.figures import Figure


class Run(ABC):
    """Something that `launch.py` runs."""

    ngpus: int | None
    """Number of processes, one per GPU; None: all GPUs of this machine, or one process on a CPU."""

    def processes(self) -> int:
        """How many there shall be: `ngpus`, or one for each GPU of this machine, or one."""
        return self.ngpus or max(torch.cuda.device_count(), 1)

    @abstractmethod
    def describe(self) -> str:
        """What would happen, with sizes; reads no data and starts nothing."""

    def describe_memory(self) -> str:
        """What it takes on each GPU, where that is known before the start: for a dry run, for it takes seconds."""
        return ""

    def starts_from(self) -> list[str]:
        """The checkpoints that have to be there."""
        return []

    def warnings(self) -> list[str]:
        """What works but is unwise, a sentence each."""
        return []

    def check_processes(self, processes: int) -> None:  # noqa: B027 - most runs work with any number
        """Check that the run can be divided among so many processes.

        Raises:
            UserError: It cannot.
        """

    def check_contracts(self) -> None:
        """UserError where a part contradicts its contract on a few states; a run without such parts has no checks."""
        return

    @abstractmethod
    def execute(self, workspace: Workspace) -> list[Figure]:
        """Do it. Returns the figures that a table of runs compares, by the first of which it is sorted."""
