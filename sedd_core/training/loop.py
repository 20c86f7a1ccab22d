"""The training loop: updates, and between them log lines, checkpoints, evaluations and graceful stops."""

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
from . import saving
from .context import RunContext
from .evaluation import Evaluations
from .log import change_line, figures_line
from .meter import Meter
from .nonfinite import check_finite
from .progress import TrainingProgress
from .settings import Checkpoints
from .trainer import StepResult, Trainer


class Loop:
    """Runs a trainer from any step to the last. Only the main process writes files.

    Args:
        trainer: Trainer of the model.
        context: Folder, outputs and stop signal of the run.
        settings: When checkpoints are saved.
        codec: Tokenizer, saved with each checkpoint.
        meter: Sums of the figures for the log.
        evaluations: Evaluations during training.
    """

    def __init__(
        self,
        trainer: Trainer,
        context: RunContext,
        settings: Checkpoints,
        codec: Codec,
        meter: Meter,
        evaluations: Evaluations,
    ) -> None:
        self.trainer, self.context, self.settings = trainer, context, settings
        self.codec, self.meter, self.evaluations = codec, meter, evaluations
        self.training, self.main = trainer.training, trainer.world.main
        self._updated_at = 0
        """Number of steps done when an update last succeeded."""
        self._save_due = False
        self._newest_confirmed = False
        """Whether an update has succeeded since the newest checkpoint: its weights give finite losses."""
        self._started = time.monotonic(), 0
        """When this process began to train, and after which step."""

    def resume(self) -> int:
        """Resume from the newest complete checkpoint of the run.

        The main process chooses it, so that all processes resume from the same, whatever each sees of a shared disk.

        Returns:
            The step of the checkpoint; 0 without one.

        Raises:
            UserError: The checkpoint is of another optimizer, or of another version of this code.
        """
        run, world = self.context.workspace.folder, self.trainer.world
        found = world.agree(lambda: checkpoints.newest_intact(run) if self.main and checkpoints.steps(run) else None)
        folder = world.gather(found)[0]
        if folder is None:
            self.context.workspace.record_changes(None, 0)
            return 0
        state = checkpoints.load_for_resume(folder, self.trainer.model, self.trainer.noise, self.trainer.ema)
        try:
            saving.load(self.trainer, folder, state["trainer"])
            self.meter.load(state["meter"])
            if state["step"] != checkpoints.step_of(folder):
                raise ValueError(f"its step is {state['step']!r}")
            self._updated_at = checkpoints.step_of(folder)
        except Exception as error:  # any error of Python or torch on a foreign state
            if is_exhausted(error):
                raise
            raise UserError(
                f"{folder} was saved by another optimizer, or by another version of this code: the run cannot be "
                f"resumed from it exactly. Start a new run from its weights: init_from={folder}"
            ) from error
        self.context.workspace.record_changes(Record.read(folder / checkpoints.CONFIG), self._updated_at)
        return self._updated_at

    def resume_instructions(self) -> str:
        """The message after a graceful stop: what was saved, and the command that continues."""
        command = self.context.workspace.command("--resume")
        if not self.meter.in_a_row:
            return f"Stopped and saved. To continue: {command}"
        step = max(map(checkpoints.step_of, checkpoints.steps(self.context.workspace.folder)), default=0)
        return (
            f"Stopped; nothing was saved, because the last {self.meter.in_a_row} updates were not finite. "
            f"To continue from step {step}: {command}"
        )

    def run(self, first: int) -> None:
        """Train to the last step.

        Args:
            first: Number of steps already done.

        Raises:
            Stopped: A signal requested a process to stop; the checkpoint is saved.
            UserError: Too many consecutive updates were not finite.
        """
        training = self.training
        self._started = time.monotonic(), first
        if self.main:
            self.context.log.open(first)
            for change in self.context.workspace.record.history:
                if change.step == first:
                    self.context.log.append(change_line(change))
        with self._profiler(first) as profiler, TrainingProgress(training.steps, first) as progress:
            if first and self._evaluation_due(first) and self._evaluation_missing(first):
                self._evaluate(first)
            with self.trainer.reading_ahead():
                for step in range(first, training.steps):
                    self._step(step, progress)
                    if profiler is not None:
                        profiler.step()

    def _step(self, step: int, progress: TrainingProgress) -> None:
        result = self.trainer.step(step, self.context.stop.requested)
        self.meter.add(result)
        check_finite(self.trainer, self.context.workspace, self.meter.in_a_row, result, step, self._updated_at)
        self._finish_step(step + 1, result, progress)

    def _finish_step(self, done: int, result: StepResult, progress: TrainingProgress) -> None:
        """Log, save, stop or evaluate, as due. Saves only directly after a successful update: see `save`."""
        if result.updated:
            self._updated_at = done
            self._confirm_newest(done)
        if self.main:
            loss = self.meter.mean_loss()
            progress.step(done, "no update" if loss is None else f"loss {loss:.3f} nats/token")
        last = done == self.training.steps
        if last or done % self.training.log_every == 0:
            self._log(done, progress)
        self._save_due = self._save_due or last or result.stop_requested or self.settings.due(done)
        if self._save_due and result.updated:
            self.save(done)
        if result.stop_requested and not last:
            raise Stopped
        if self._evaluation_due(done):
            self._evaluate(done)

    def _confirm_newest(self, done: int) -> None:
        """Prune older checkpoints: an update has succeeded on top of the newest one."""
        if not self._newest_confirmed and self.main:
            checkpoints.prune(self.context.workspace.folder, done, self.settings.is_temporary, self.settings.keep)
        self._newest_confirmed = True

    def _evaluation_due(self, done: int) -> bool:
        every = self.training.eval_every
        return every > 0 and done % every == 0 and done < self.training.steps

    def _evaluation_missing(self, done: int) -> bool:
        """Whether a kill prevented the evaluation of a step; the main process decides for all."""
        return self.trainer.world.gather(not self.context.workspace.samples_folder(done).exists())[0]

    def _evaluate(self, done: int) -> None:
        """Run the evaluations. After a stop in between, the evaluation is repeated on resuming."""
        self.trainer.model.eval()
        try:
            with self.trainer.averaged():
                for evaluation in self.evaluations:
                    evaluation.evaluate(done)
        except Stopped:
            if not self.meter.in_a_row:
                self.save(done)
            raise
        finally:
            self.trainer.model.train()

    def _log(self, done: int, progress: TrainingProgress) -> None:
        figures = self.meter.figures()
        shown = {name: value for name, value in figures.items() if "by_time" not in name}  # too many for a line
        line = figures_line(done, self.training.steps, shown, self.seconds_left(done))
        progress.log(line)
        self.context.log_metrics(line, figures, done)
        if done % self.training.log_every == 0:  # else the run ends here; if it is extended, the sums continue
            self.meter.clear()

    def seconds_left(self, done: int) -> float:
        """Estimate from the mean time per step since this process started, evaluations included."""
        started, first = self._started
        return (time.monotonic() - started) / (done - first) * (self.training.steps - done)

    def save(self, done: int) -> None:
        """Save the checkpoint of a step, and prune older ones.

        Call it only directly after a successful update. A finite update can still ruin the weights, which shows in
        the next one: the newest checkpoint may contain ruined weights, the one before it does not.

        Args:
            done: Number of updates done.
        """
        folder, workspace = self.context.workspace.folder, self.context.workspace
        self.context.on_main(lambda: self._prepare_save(done))
        state = {"step": done, "meter": self.meter.state()}
        saving.save(self.trainer, checkpoints.folder_of(folder, done), self.codec, workspace.record, state, {})
        keep = max(self.settings.keep, 2)
        self.context.on_main(lambda: checkpoints.prune(folder, done, self.settings.is_temporary, keep))
        self._save_due = self._newest_confirmed = False

    def _prepare_save(self, done: int) -> None:
        if self.context.monitor:
            self.context.monitor.flush()  # a resumed run does not send again what precedes its checkpoint
        if self._evaluation_due(done):
            # samples of an interrupted run at this step; the evaluation is repeated
            shutil.rmtree(self.context.workspace.samples_folder(done), ignore_errors=True)

    def _profiler(self, first: int) -> AbstractContextManager[Any]:
        """A profiler of the remaining steps of training.profile, which writes a trace to the folder's profile/."""
        start, end = self.training.profile or (1, 0)
        before = max(start - 1 - first, 0)
        if end <= first or not self.main:
            return nullcontext()
        with warnings.catch_warnings():  # torch warns without a warm-up step, which the first step cannot have
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
