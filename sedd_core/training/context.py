"""The context that a training loop and its evaluators share."""

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
    """The folder, outputs, stop signal and seed of a run, shared by its loop and its evaluators."""

    workspace: Workspace
    """The run's folder and record."""
    monitor: Monitor | None
    """Destination of metrics and samples, in the main process; None without a monitor and in the other processes."""
    stop: Stop
    """Whether a signal requested the run to stop."""
    seed: int
    """Random seed of the run."""
    last_metrics: dict[str, float] = field(default_factory=dict)
    """Most recent value of each evaluation metric, by its chart name."""

    @property
    def world(self) -> World:
        """The processes of the run, seen from this one."""
        return self.workspace.world

    @cached_property
    def log(self) -> RunLog:
        """The run's log.txt and metrics.jsonl; only the main process writes them."""
        return RunLog(self.workspace.folder)

    def on_main(self, work: Callable[[], None]) -> None:
        """Call `work` in the main process while the others wait; if it fails, all processes fail."""
        self.world.agree(lambda: work() if self.world.main else None)

    def log_metrics(self, line: str, metrics: Mapping[str, float], step: int) -> None:
        """Write metrics to the log and to the monitor.

        Args:
            line: Line for log.txt.
            metrics: Values by chart name.
            step: Number of updates done.
        """
        self.on_main(lambda: self.log.write_metrics(line, metrics, step))
        if self.monitor is not None:
            self.monitor.scalars(metrics, step)
