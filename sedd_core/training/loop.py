"""The training loop: updates, and between them the log, checkpoints, evaluations and graceful stops."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from .. import checkpoints
from ..errors import Stopped, UserError
from ..files import writing
from ..model.memory import is_exhausted
from ..record.record import Record
from ..text.codec import Codec
from .bad_numbers import check_numbers
from .context import RunContext
from .evaluation import Evaluators
from .log import change_line, figures_line
from .meter import Meter
from .progress import TrainingProgress
from .settings import Checkpoints
from .trainer import StepResult, Trainer


class Loop:
    """Runs a trainer from any step to the last. Only the main process writes."""

    def __init__(
        self,
        trainer: Trainer,
        context: RunContext,
        settings: Checkpoints,
        codec: Codec,
        meter: Meter,
        evaluators: Evaluators,
    ) -> None:
        self.trainer, self.context, self.settings = trainer, context, settings
        self.codec, self.meter, self.evaluators = codec, meter, evaluators
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
        run, world = self.context.workspace.folder, self.trainer.world
        found = world.agree(
            lambda: checkpoints.find_checkpoint(run) if self.main and checkpoints.steps(run) else None
        )
        folder = world.gather(found)[0]
        if folder is None:
            self.context.workspace.follow(None, 0)
            return 0
        state = checkpoints.load_for_resume(
            folder, self.trainer.objective.model, self.trainer.noise, self.trainer.ema
        )
        try:
            self.trainer.load(state["trainer"])
            self.meter.load(state["meter"])
            if state["step"] != checkpoints.step_of(folder):
                raise ValueError(f"it is of step {state['step']!r}")
            self._updated_at = checkpoints.step_of(folder)
        except Exception as error:  # whatever Python and torch make of another's state
            if is_exhausted(error):
                raise
            raise UserError(
                f"{folder} was saved by another optimizer, or by another version of this code: the run cannot be "
                f"resumed from it exactly. Start another from its weights: init_from={folder}"
            ) from error
        self.context.workspace.follow(Record.read(folder / checkpoints.CONFIG), self._updated_at)
        return self._updated_at

    def where_it_resumes(self) -> str:
        """What is said of a run that was stopped."""
        command = self.context.workspace.command("--resume")
        if not self.meter.in_a_row:
            return f"Stopped and saved. To continue: {command}"
        step = max(map(checkpoints.step_of, checkpoints.steps(self.context.workspace.folder)), default=0)
        return (
            f"Stopped; nothing was saved, because the last {self.meter.in_a_row} updates were not finite. "
            f"To continue from step {step}: {command}"
        )

    def run(self, first: int) -> None:
        """From step `first` to the end. Stopped, with everything saved, when a process was told to stop."""
        training = self.training
        self._started = time.monotonic(), first
        if self.main:
            self.context.log.open(first)
            for change in self.context.workspace.record.history:
                if change.step == first:
                    self.context.log.note(change_line(change))
        with self._profiler(first) as profiler, TrainingProgress(training.steps, first) as progress:
            if first and self._evaluation_due(first) and self._evaluation_missing(first):
                self._evaluate(first)
            for step in range(first, training.steps):
                result = self.trainer.step(step, self.context.stop.requested)
                self.meter.add(result)
                check_numbers(
                    self.trainer, self.context.workspace, self.meter.in_a_row, result, step, self._updated_at
                )
                self._after(step + 1, result, progress)
                if profiler is not None:
                    profiler.step()

    def _after(self, done: int, result: StepResult, progress: TrainingProgress) -> None:
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
        self._due = self._due or last or result.stop_requested or self.settings.due(done)
        if self._due and result.updated:
            self.save(done)
        if result.stop_requested and not last:
            raise Stopped
        if self._evaluation_due(done):
            self._evaluate(done)

    def _prove(self, done: int) -> None:
        """An update has succeeded on top of the newest checkpoint, so that those before it are no longer needed."""
        if self._unproven and self.main:
            checkpoints.prune(self.context.workspace.folder, done, self.settings.is_temporary, self.settings.keep)
        self._unproven = False

    def _evaluation_due(self, done: int) -> bool:
        every = self.training.eval_every
        return every > 0 and done % every == 0 and done < self.training.steps

    def _evaluation_missing(self, done: int) -> bool:
        """Whether a kill came before it; as the main process sees the disk, for all make it together."""
        return self.trainer.world.gather(not self.context.workspace.samples_folder(done).exists())[0]

    def _evaluate(self, done: int) -> None:
        """Validation and samples. When told to stop meanwhile, they are done again after resuming."""
        self.trainer.objective.eval()
        try:
            with self.trainer.ema.in_place():
                for evaluator in self.evaluators:
                    evaluator.evaluate(done)
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
        self.context.measure(line, figures, done)
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
        trainer, folder = self.trainer, self.context.workspace.folder
        if self.context.monitor:
            self.context.monitor.flush()  # what is told before a checkpoint is not told again after it
        if self._evaluation_due(done):
            shutil.rmtree(
                self.context.workspace.samples_folder(done), ignore_errors=True
            )  # of an earlier life: its time comes again
        state = {"step": done, "trainer": trainer.state(), "meter": self.meter.state()}
        target = checkpoints.folder_of(folder, done)
        parts = (trainer.objective.model, trainer.noise, trainer.ema, self.codec, self.context.workspace.record)
        checkpoints.save(target, *parts, state)
        checkpoints.prune(folder, done, self.settings.is_temporary, max(self.settings.keep, 2))

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
        return torch.profiler.profile(schedule=schedule, on_trace_ready=_write_trace(self.context.workspace.folder))


def _write_trace(folder: Path) -> Callable[[torch.profiler.profile], None]:
    def write(profiler: torch.profiler.profile) -> None:
        (folder / "profile").mkdir(exist_ok=True)
        with writing(folder / "profile" / "trace.json") as temporary:
            profiler.export_chrome_trace(str(temporary))

    return write
