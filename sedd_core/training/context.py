"""What the parts of a run share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ..build.workspace import Workspace
from ..distributed.preemption import Stop
from ..distributed.world import World
from ..stages import Monitor
from .log import RunLog


@dataclass
class RunContext:
    """The folder, the outputs, the signals and the seed of a run, shared by its loop and its evaluators.

    Args:
        workspace: The run's folder and record.
        monitor: Where figures and texts go, in the main process; None for none, and in the other processes.
        stop: Whether a signal requested the run to stop.
        seed: Random seed of the run.
        last_metrics: The last value of each metric of an evaluation, by its chart's name.
    """

    workspace: Workspace
    monitor: Monitor | None
    stop: Stop
    seed: int
    last_metrics: dict[str, float] = field(default_factory=dict)

    @property
    def world(self) -> World:
        """This process among the run's."""
        return self.workspace.world

    @cached_property
    def log(self) -> RunLog:
        """The run's log.txt and metrics.jsonl; the main process alone writes them."""
        return RunLog(self.workspace.folder)

    def on_main(self, work: Callable[[], None]) -> None:
        """Let the main process work while the others wait; where it fails, all fail."""
        self.world.agree(lambda: work() if self.world.main else None)

    def measure(self, line: str, metrics: Mapping[str, float], step: int) -> None:
        """Write metrics to the log and to the monitor.

        Args:
            line: The line of log.txt.
            metrics: Values by their charts' names.
            step: Number of updates done.
        """
        self.on_main(lambda: self.log.measure(line, metrics, step))
        if self.monitor is not None:
            self.monitor.scalars(metrics, step)
