"""CSV monitor: metrics of a run as one table."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sedd_core import hookimpl
from sedd_core.files import writing
from sedd_core.stages import Monitor

COLUMNS = ("step", "name", "value")


class Csv(Monitor):
    """CSV monitor: writes metrics.csv to the run folder, one row per metric and step.

    Every name has one row per step, even after a run is killed and resumed: `start` removes the rows of later steps,
    and a metric of that step that is logged again replaces the earlier row.
    """

    def __init__(self) -> None:
        self._path, self._step = Path(), 0
        self._file: Any = None

    def start(self, folder: Path, step: int) -> None:
        """Remove the rows of steps after `step`, and open the table."""
        self._path, self._step = folder / "metrics.csv", step
        self._replace({})

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Append a row per metric."""
        if step == self._step:
            self._file.close()
            self._replace(values)
        self._rows().writerows((step, name, repr(float(value))) for name, value in values.items())
        self._file.flush()

    def text(self, name: str, text: str, step: int) -> None:
        """No-op: the run folder has the texts."""

    def hyperparameters(self, values: Mapping[str, bool | int | float | str], figures: Mapping[str, float]) -> None:
        """No-op: the run folder has config.json and results.json."""

    def flush(self) -> None:
        """Write all rows to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write all rows to disk and close the table."""
        self.flush()
        self._file.close()

    def _rows(self) -> Any:
        return csv.writer(self._file, lineterminator="\n")

    def _replace(self, renewed: Mapping[str, float]) -> None:
        """Keep the rows up to the step resumed from, without the names that are logged again at it; open the table."""
        kept = [row for row in _read(self._path) if not (int(row[0]) == self._step and row[1] in renewed)]
        with writing(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [COLUMNS, *(row for row in kept if int(row[0]) <= self._step)]
            )
        self._file = self._path.open("a", newline="", encoding="utf-8")


def _read(path: Path) -> list[list[str]]:
    """The complete rows of a table; the last one may be cut where a run was killed."""
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [row for row in csv.reader(whole.splitlines()[1:]) if len(row) == len(COLUMNS)]


@hookimpl
def sedd_monitor() -> type[Monitor]:
    """The class of this plugin."""
    return Csv
