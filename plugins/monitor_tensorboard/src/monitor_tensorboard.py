"""Runs in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Any

from sedd_core import hookimpl
from sedd_core.stages import Monitor

WIDTH = 110
"""Characters of a line of text."""
lines_of = partial(wrap, width=WIDTH, drop_whitespace=False, replace_whitespace=False, expand_tabs=False)


class TensorBoard(Monitor):
    """Writes event files to the run folder's tensorboard/."""

    def __init__(self) -> None:
        self._writer: Any = None

    def start(self, folder: Path, step: int) -> None:
        """Open the event file; events of steps after `step` are hidden."""
        from torch.utils.tensorboard import SummaryWriter  # a second to import: only where a run is watched

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One chart a name, one section a group."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def text(self, name: str, text: str, step: int) -> None:
        """Indented, which Markdown shows as it is; its long lines go on in the next."""
        lines = [piece for line in text.splitlines() for piece in lines_of(line) or [""]]
        self._writer.add_text(name, "\n".join(f"    {line}" for line in lines), step)
        self._writer.flush()

    def hyperparameters(self, values: Mapping[str, bool | int | float | str], figures: Mapping[str, float]) -> None:
        """In this run's own event file: `add_hparams` would make a second run of it."""
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(dict(values), dict(figures)):
            self._writer.file_writer.add_summary(summary)

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


@hookimpl
def sedd_monitor() -> type[Monitor]:
    """The class of this plugin."""
    return TensorBoard
