"""The context that a training loop and its evaluations share, and what evaluators see of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar, cast

import torch
from jaxtyping import Int64
from torch import Tensor

from .. import console
from ..build.workspace import Workspace
from ..distributed.preemption import Stop, run_on_all_ranks
from ..distributed.world import World
from ..errors import Stopped, UserError, machine_failures_explained
from ..model.memory import explained
from ..registry.plugins import name_of
from ..stages import Evaluator, Monitor
from .log import RunLog

T = TypeVar("T")


@dataclass
class RunContext:
    """The folder, outputs, stop signal and seed of a run, shared by its loop and its evaluations."""

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


@dataclass
class EvaluatorContext:
    """What an evaluator sees of a run: see `stages.EvalContext`."""

    evaluator: Evaluator
    """Evaluator that is called."""
    path: str
    """Path of the evaluator in the run, for messages."""
    run: RunContext
    """Context of the run."""
    t_min: float
    """Smallest diffusion time of training and validation."""
    final: bool
    """Whether this is the evaluation at the end of the run."""
    reports: list[str] = field(default_factory=list)
    """Texts for validation.txt."""
    _failure: Exception | None = None
    """Error that `gather` has raised in all processes."""

    @property
    def seed(self) -> int:
        """Random seed of the run."""
        return self.run.seed

    @property
    def device(self) -> torch.device:
        """Device of this process."""
        return self.run.world.device

    def share(self, count: int) -> Int64[Tensor, " n"]:
        """See `EvalContext.share`."""
        return self.run.world.share(count)

    def gather(self, work: Callable[[], T]) -> list[T]:
        """See `EvalContext.gather`."""

        def guarded() -> T:
            with self.guarded():
                return work()

        try:
            return run_on_all_ranks(self.run.world, guarded)
        except Exception as error:
            self._failure = error
            raise

    def call(self, work: Callable[[], T]) -> T:
        """Call the evaluator in every process. A failure in one ends all, wherever the others are.

        Args:
            work: Function that calls the evaluator; it may call `gather`.
        """
        result, failure = None, None
        try:
            with self.guarded():
                result = work()
        except Exception as error:
            failure = error
        if self._failure is not None:  # all processes raise it, even where the evaluator has caught it
            raise self._failure

        def outcome() -> T:
            if failure is not None:
                raise failure
            return cast(T, result)

        return self.run.world.agree(outcome)

    def track(self, items: Sequence[T], title: str) -> Iterator[T]:
        """See `EvalContext.track`."""
        for item in console.track(items, title):
            self.run.stop.check()
            yield item

    def report(self, text: str) -> None:
        """See `EvalContext.report`."""
        if self.final:
            self.reports.append(text)

    def save(self, name: str, text: str) -> None:
        """See `EvalContext.save`."""
        if self.final:
            self.run.on_main(lambda: self.run.workspace.write_side_file(name, text))

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Within: any error of the evaluator is a UserError that names it. Without gradients."""
        name = name_of(type(self.evaluator)) or type(self.evaluator).__name__
        lower = f"the batch size of {self.path}, or data.length"
        try:
            with (
                machine_failures_explained(self.run.workspace.folder),
                explained(f"validation ({name})", lower),
                torch.no_grad(),
            ):
                yield
        except (UserError, Stopped):
            raise
        except Exception as error:
            raise UserError(
                f"The evaluator {name} ({self.path}) failed ({type(error).__name__}: {error}). Correct it, or leave "
                "it out; saved checkpoints are intact."
            ) from error
