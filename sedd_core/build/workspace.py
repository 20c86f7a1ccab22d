"""A run's folder and record."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..distributed.world import World
from ..errors import UserError
from ..files import check_readable, remove_empty, side_file, write_text, writing_folder
from ..record.figures import Figure, from_json, to_json
from ..record.record import Record
from .compare import history_of
from .lock import LOCK, locked

CHANGES = "\nchanged on the way\n"
"""What stands in config.txt before the changes of a resumed run."""


@dataclass
class Workspace:
    """A run's folder and record. The folder is made by `open`, when the run knows that it can start.

    config_text: every resolved value and where it was set; "" leaves the file as it is. world: this process among the
    run's. resume: go on with what the folder holds. allow_changes: even where that makes it another run. from_step:
    the step of the checkpoint to go on from; the newest when None.
    """

    folder: Path
    record: Record
    config_text: str = ""
    world: World = field(default_factory=World)
    resume: bool = False
    allow_changes: bool = False
    from_step: int | None = None

    def check(self) -> None:
        """UserError when the folder plainly cannot be made, or is not empty: before any data is read."""
        check_readable(self.folder)
        there = next(path for path in [self.folder, *self.folder.absolute().parents] if os.path.lexists(path))
        if not there.is_dir():
            raise self._unusable(f"{there} is a file")
        if not os.access(there, os.W_OK):
            raise self._unusable(f"{there} is read-only")
        if there == self.folder and self._used() and not self.resume:
            raise UserError(
                f"{self.folder} holds something already. Name another folder: --run_folder=...; or continue "
                "the run that it holds: --resume"
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within: the folder is there, and this run's alone. One that is left with nothing in it is removed again.

        The main process holds it, by a lock that ends with that process. UserError in every process when the folder
        cannot be made, holds something already, or is another run's at the moment.
        """
        with ExitStack() as stack:
            self.world.agree(lambda: self._hold(stack) if self.world.main else None)
            yield

    def _hold(self, stack: ExitStack) -> None:
        self.check()
        made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            stack.callback(remove_empty, made)
            stack.enter_context(locked(self.folder))
        except OSError as error:
            raise self._unusable(str(error.strerror or error)) from error
        stack.callback(self._unlock_unused)
        self.check()  # what another run has left meanwhile

    def _used(self) -> bool:
        return any(path.name != LOCK for path in self.folder.iterdir())

    def _unlock_unused(self) -> None:
        if not self._used():
            (self.folder / LOCK).unlink(missing_ok=True)

    def remove_unbegun(self) -> None:
        """Remove the folder of a new run that failed before anything happened in it, unless another has taken it."""
        if self.resume:  # what was there before is the user's
            return
        with suppress(UserError, OSError), locked(self.folder, patience=0.0):
            if not any((self.folder / name).exists() for name in ("log.txt", "checkpoints", "samples")):
                shutil.rmtree(self.folder)

    def open(self) -> None:
        """Write config.json and config.txt into the folder. UserError, in every process, when they cannot be."""
        self.world.agree(lambda: self._open() if self.world.main else None)

    def _open(self) -> None:
        try:
            self._write_record()
        except OSError as error:
            raise self._unusable(str(error.strerror)) from error

    def record_changes(self, stored: Record | None, step: int) -> None:
        """Keep in the record, and in its files, what differs from the record in the checkpoint of a step.

        stored: that record; None for a run that starts from step 0.
        """
        self.record.history = [] if stored is None else history_of(stored, self.record, step)
        self.world.agree(lambda: self._write_record() if self.world.main else None)

    def _write_record(self) -> None:
        changes = "".join(f"{change}\n" for change in self.record.history)
        text = self.config_text or self.settings().partition(CHANGES)[0]
        if text or changes:
            self.write_side_file("config.txt", text + (CHANGES + changes if changes else ""))
        self.record.write(self.folder / "config.json")  # last: a run that has one need not say its settings again

    def command(self, *flags: str) -> str:
        """The command line of this run's folder with these flags, for a shell."""
        trust = ["--trust"] if any(node.kind == "file" for node in self.record.run.nodes()) else []
        return shlex.join(["python", "launch.py", f"--run_folder={self.folder}", *flags, *trust])

    def _unusable(self, reason: str) -> UserError:
        return UserError(f"The run folder {self.folder} cannot be made: {reason}. Name another one: --run_folder=...")

    def write_side_file(self, name: str, text: str) -> None:
        """Write a file that no run depends on, whole; one that cannot be written is a warning."""
        with side_file(self.folder / name):
            write_text(self.folder / name, text)

    def settings(self) -> str:
        """What config.txt says: each resolved value and where it was set. Nothing where it cannot be read."""
        file = self.folder / "config.txt"
        with side_file(file):
            return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        return ""

    def write_results(self, figures: Sequence[Figure]) -> None:
        """Keep the run's figures in results.json."""
        if self.world.main:
            self.write_side_file("results.json", to_json(figures))

    def results(self) -> list[Figure]:
        """What `write_results` kept; nothing for a run that has not ended, or where the file is damaged."""
        file = self.folder / "results.json"
        try:
            return from_json(file.read_bytes()) if file.is_file() else []
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return []

    def samples_folder(self, step: int) -> Path:
        """Where the samples of a training step go."""
        return self.folder / "samples" / f"step_{step:09d}"

    def write_samples(self, texts: Sequence[str], step: int | None = None) -> None:
        """Write each text to its own file, sample_<i>.txt below samples/, or below the folder of a training step.

        All of them or none: the folder is whole where it is there.
        """
        folder = self.folder / "samples" if step is None else self.samples_folder(step)
        with writing_folder(folder) as temporary:
            for index, text in enumerate(texts):
                (temporary / f"sample_{index}.txt").write_text(text, encoding="utf-8")
