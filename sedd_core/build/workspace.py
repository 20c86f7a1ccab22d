"""Folder and record of a run."""

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
"""Heading in config.txt above the changes of a resumed run."""


@dataclass
class Workspace:
    """Folder and record of a run. `held` creates the folder, and `open` writes the record into it."""

    folder: Path
    """Run folder; it need not exist."""
    record: Record
    """Record of the run."""
    config_text: str = ""
    """Text of config.txt: each resolved value and where it was set; "" keeps the existing file."""
    world: World = field(default_factory=World)
    """Processes of the run, and the rank of this one."""
    resume: bool = False
    """Whether to continue the run in the folder."""
    allow_changes: bool = False
    """Whether to resume even with settings that make it a different run."""
    from_step: int | None = None
    """Training step of the checkpoint to resume from; None: the newest checkpoint."""

    def check(self) -> None:
        """Check the folder before any data is read.

        Raises:
            UserError: The folder cannot be created, or is not empty and the run does not resume.
        """
        check_readable(self.folder)
        existing = next(path for path in [self.folder, *self.folder.absolute().parents] if os.path.lexists(path))
        if not existing.is_dir():
            raise self._unusable(f"{existing} is a file")
        if not os.access(existing, os.W_OK):
            raise self._unusable(f"{existing} is read-only")
        if existing == self.folder and self._used() and not self.resume:
            raise UserError(
                f"{self.folder} is not empty. Name another folder: --run_folder=...; or continue the run in "
                "it: --resume"
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Context in which the folder exists and is locked for this run; a folder left empty is removed again.

        The main process owns the lock, which ends with that process.

        Raises:
            UserError: In every process: the folder cannot be created, is not empty, or is in use by another run.
        """
        with ExitStack() as stack:
            self.world.agree(lambda: self._hold(stack) if self.world.main else None)
            yield

    def _hold(self, stack: ExitStack) -> None:
        self.check()
        created = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            stack.callback(remove_empty, created)
            stack.enter_context(locked(self.folder))
        except OSError as error:
            raise self._unusable(str(error.strerror or error)) from error
        stack.callback(self._unlock_unused)
        self.check()  # another run may have used the folder in the meantime

    def _used(self) -> bool:
        return any(path.name != LOCK for path in self.folder.iterdir())

    def _unlock_unused(self) -> None:
        if not self._used():
            (self.folder / LOCK).unlink(missing_ok=True)

    def remove_unbegun(self) -> None:
        """Remove the folder of a new run that failed before its first output, unless another run uses it."""
        if self.resume:  # earlier content belongs to the user
            return
        with suppress(UserError, OSError), locked(self.folder, patience=0.0):
            if not any((self.folder / name).exists() for name in ("log.txt", "checkpoints", "samples")):
                shutil.rmtree(self.folder)

    def open(self) -> None:
        """Write config.json and config.txt into the folder.

        Raises:
            UserError: In every process: the files cannot be written.
        """
        self.world.agree(lambda: self._open() if self.world.main else None)

    def _open(self) -> None:
        try:
            self._write_record()
        except OSError as error:
            raise self._unusable(str(error.strerror)) from error

    def record_changes(self, stored: Record | None, step: int) -> None:
        """Add the changes since a checkpoint to the history of the record, and write the record.

        Args:
            stored: Record in the checkpoint; None for a run that starts from step 0.
            step: Training step of the checkpoint.
        """
        self.record.history = [] if stored is None else history_of(stored, self.record, step)
        self.world.agree(lambda: self._write_record() if self.world.main else None)

    def _write_record(self) -> None:
        changes = "".join(f"{change}\n" for change in self.record.history)
        text = self.config_text or self.settings().partition(CHANGES)[0]
        if text or changes:
            self.write_side_file("config.txt", text + (CHANGES + changes if changes else ""))
        self.record.write(
            self.folder / "config.json"
        )  # last: a folder with config.json can be resumed without stating settings

    def command(self, *flags: str) -> str:
        """Shell command that runs launch.py on this run folder.

        Args:
            flags: Further command-line flags.
        """
        trust = ["--trust"] if any(node.kind == "file" for node in self.record.run.nodes()) else []
        return shlex.join(["python", "launch.py", f"--run_folder={self.folder}", *flags, *trust])

    def _unusable(self, reason: str) -> UserError:
        return UserError(f"The run folder {self.folder} cannot be made: {reason}. Name another one: --run_folder=...")

    def write_side_file(self, name: str, text: str) -> None:
        """Atomically write a file that no run depends on; a failure is only a warning.

        Args:
            name: Name of the file in the run folder.
            text: Content of the file.
        """
        with side_file(self.folder / name):
            write_text(self.folder / name, text)

    def settings(self) -> str:
        """Text of config.txt: each resolved value and where it was set; "" if it cannot be read."""
        file = self.folder / "config.txt"
        with side_file(file):
            return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        return ""

    def write_results(self, figures: Sequence[Figure]) -> None:
        """Write the run's figures to results.json, in the main process."""
        if self.world.main:
            self.write_side_file("results.json", to_json(figures))

    def results(self) -> list[Figure]:
        """Figures in results.json; empty for a run that has not ended, or if the file is damaged."""
        file = self.folder / "results.json"
        try:
            return from_json(file.read_bytes()) if file.is_file() else []
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return []

    def samples_folder(self, step: int) -> Path:
        """Folder of the samples of a training step."""
        return self.folder / "samples" / f"step_{step:09d}"

    def write_samples(self, texts: Sequence[str], step: int | None = None) -> None:
        """Write each text to a file sample_<i>.txt; the folder appears atomically with all of them.

        Args:
            texts: Texts of the samples.
            step: Training step of the samples, for a folder of its own; None: the folder samples/.
        """
        folder = self.folder / "samples" if step is None else self.samples_folder(step)
        with writing_folder(folder) as temporary:
            for index, text in enumerate(texts):
                (temporary / f"sample_{index}.txt").write_text(text, encoding="utf-8")
