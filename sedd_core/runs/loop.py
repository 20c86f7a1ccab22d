"""The training loop: updates, and between them the log, checkpoints, snapshots, and being told to stop."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from .. import checkpoint, loading
from ..codec import Codec
from ..console import TrainingProgress
from ..errors import Stopped, UserError
from ..files import writing
from ..memory import is_exhausted
from ..preemption import Stop
from ..record import Record
from ..stages import Monitor
from ..training import StepResult, Trainer
from .bad_numbers import check_numbers
from .base import Workspace
from .log import change_line, figures_line
from .meter import Meter
from .settings import Checkpoints

Snapshot = Callable[[int], object]
"""Validate and sample after a step."""


class Loop:
    """Runs a trainer from any step to the last. Only the main process writes."""

    def __init__(
        self,
        trainer: Trainer,
        workspace: Workspace,
        checkpoints: Checkpoints,
        monitor: Monitor | None,
        codec: Codec,
        meter: Meter,
        stop: Stop,
    ) -> None:
        self.trainer, self.workspace, self.checkpoints = trainer, workspace, checkpoints
        self.monitor, self.codec, self.meter, self.stop = monitor, codec, meter, stop
        self.training, self.main = trainer.training, trainer.world.main
        self._updated_at = 0
        """Steps done when an update last succeeded."""
        self._due, self._unproven = False, True
        """Whether a save is due, and whether no update has succeeded on top of the newest checkpoint yet."""
        self._started = time.monotonic(), 0
        """When this process began to train, and after which step."""

    def resume(self) -> int:
        """Go on from the newest whole checkpoint of the run. Returns its step; 0 where there is none.

        The main process says which that is: all go on from the same, whatever each sees of a shared disk.
        """
        run, world = self.workspace.folder, self.trainer.world
        found = world.agree(lambda: loading.find(run) if self.main and checkpoint.steps(run) else None)
        folder = world.gather(found)[0]
        if folder is None:
            self.workspace.follow(None, 0)
            return 0
        state = checkpoint.resume(folder, self.trainer.objective.model, self.trainer.noise, self.trainer.ema)
        try:
            self.trainer.load(state["trainer"])
            self.meter.load(state["meter"])
            if state["step"] != checkpoint.step_of(folder):
                raise ValueError(f"it is of step {state['step']!r}")
            self._updated_at = checkpoint.step_of(folder)
        except Exception as error:  # whatever Python and torch make of another's state
            if is_exhausted(error):
                raise
            raise UserError(
                f"{folder} was saved by another optimizer, or by another version of this code: the run cannot be "
                f"resumed from it exactly. Start another from its weights: init_from={folder}"
            ) from error
        self.workspace.follow(Record.read(folder / checkpoint.CONFIG), self._updated_at)
        return self._updated_at

    def where_it_resumes(self) -> str:
        """What is said of a run that was stopped."""
        command = self.workspace.command("--resume")
        if not self.meter.in_a_row:
            return f"Stopped and saved. To continue: {command}"
        step = max(map(checkpoint.step_of, checkpoint.steps(self.workspace.folder)), default=0)
        return (
            f"Stopped; nothing was saved, because the last {self.meter.in_a_row} updates were not finite. "
            f"To continue from step {step}: {command}"
        )

    def run(self, first: int, snapshot: Snapshot) -> None:
        """From step `first` to the end. Stopped, with everything saved, when a process was told to stop."""
        training = self.training
        self._started = time.monotonic(), first
        if self.main:
            self.workspace.log.open(first)
            for change in self.workspace.record.history:
                if change.step == first:
                    self.workspace.log.note(change_line(change))
        with self._profiler(first) as profiler, TrainingProgress(training.steps, first) as progress:
            if first and self._snapshot_due(first) and self._snapshot_missing(first):
                self._snapshot(first, snapshot)
            for step in range(first, training.steps):
                result = self.trainer.step(step, self.stop.asked)
                self.meter.add(result)
                check_numbers(self.trainer, self.workspace, self.meter.in_a_row, result, step, self._updated_at)
                self._after(step + 1, result, progress, snapshot)
                if profiler is not None:
                    profiler.step()

    def _after(self, done: int, result: StepResult, progress: TrainingProgress, snapshot: Snapshot) -> None:
        """What may be due after a step. What is saved is what an update has just led to: see `save`."""
        if result.updated:
            self._updated_at = done
            self._prove(done)
        if self.main:
            loss = self.meter.mean_loss()
            progress.step(done, "no update" if loss is None else f"loss {loss:.3f} nats/token")
        last = done == self.training.steps
        if last or done % self.training.log_every == 0:
            self._log(done, progress)
        self._due = self._due or last or result.asked or self.checkpoints.due(done)
        if self._due and result.updated:
            self.save(done)
        if result.asked and not last:
            raise Stopped
        if self._snapshot_due(done):
            self._snapshot(done, snapshot)

    def _prove(self, done: int) -> None:
        """An update has succeeded on top of the newest checkpoint, so that those before it are no longer needed."""
        if self._unproven and self.main:
            checkpoint.prune(self.workspace.folder, done, self.checkpoints.passing, self.checkpoints.keep)
        self._unproven = False

    def _snapshot_due(self, done: int) -> bool:
        every = self.training.snapshot_every
        return every > 0 and done % every == 0 and done < self.training.steps

    def _snapshot_missing(self, done: int) -> bool:
        """Whether a kill came before it; as the main process sees the disk, for all make it together."""
        return self.trainer.world.gather(not self.workspace.snapshot(done).exists())[0]

    def _snapshot(self, done: int, snapshot: Snapshot) -> None:
        """Validation and samples. When told to stop meanwhile, they are done again after resuming."""
        self.trainer.objective.eval()
        try:
            with self.trainer.ema.in_place():
                snapshot(done)
        except Stopped:
            if not self.meter.in_a_row:
                self.save(done)
            raise
        finally:
            self.trainer.objective.train()

    def _log(self, done: int, progress: TrainingProgress) -> None:
        figures = self.meter.figures()
        shown = {name: value for name, value in figures.items() if "by_time" not in name}
        line = figures_line(done, self.training.steps, shown, self._seconds_left(done))
        progress.log(line)
        if self.main and self.monitor:
            self.monitor.scalars(figures, done)
        self.trainer.world.agree(lambda: self.workspace.log.measure(line, figures, done) if self.main else None)
        if done % self.training.log_every == 0:  # else the run ends here; one that is made longer counts on
            self.meter.clear()

    def _seconds_left(self, done: int) -> float:
        """At the speed since the start or the resumption, with all that came between the steps."""
        since, first = self._started
        return (time.monotonic() - since) / (done - first) * (self.training.steps - done)

    def save(self, done: int) -> None:
        """Write the checkpoint of a step, and remove those that are no longer kept.

        Only directly after an update that succeeded: weights that an update has ruined without being itself out of
        range show at the next one. So the newest checkpoint may hold such weights, and the one before it does not.
        """
        self.trainer.world.agree(lambda: self._save(done) if self.main else None)
        self._due, self._unproven = False, True

    def _save(self, done: int) -> None:
        trainer, folder = self.trainer, self.workspace.folder
        if self.monitor:
            self.monitor.flush()  # what is told before a checkpoint is not told again after it
        if self._snapshot_due(done):
            shutil.rmtree(
                self.workspace.snapshot(done), ignore_errors=True
            )  # of an earlier life: its time comes again
        state = {"step": done, "trainer": trainer.state(), "meter": self.meter.state()}
        target = checkpoint.folder_of(folder, done)
        parts = (trainer.objective.model, trainer.noise, trainer.ema, self.codec, self.workspace.record)
        checkpoint.save(target, *parts, state)
        checkpoint.prune(folder, done, self.checkpoints.passing, max(self.checkpoints.keep, 2))

    def _profiler(self, first: int) -> AbstractContextManager[Any]:
        """A trace of those steps that training.profile names and that are still to come, in the folder's profile/."""
        start, end = self.training.profile or (1, 0)
        before = max(start - 1 - first, 0)
        if end <= first or not self.main:
            return nullcontext()
        with warnings.catch_warnings():  # torch wants a step to warm up on, which the first one has not
            warnings.simplefilter("ignore", UserWarning)
            schedule = torch.profiler.schedule(
                wait=max(before - 1, 0), warmup=min(before, 1), active=end - first - before, repeat=1
            )
        return torch.profiler.profile(schedule=schedule, on_trace_ready=_write_trace(self.workspace.folder))


def _write_trace(folder: Path) -> Callable[[torch.profiler.profile], None]:
    def write(profiler: torch.profiler.profile) -> None:
        (folder / "profile").mkdir(exist_ok=True)
        with writing(folder / "profile" / "trace.json") as temporary:
            profiler.export_chrome_trace(str(temporary))

    return write
