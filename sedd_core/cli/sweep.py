"""Execution of a sweep's runs in sequence, and the table that compares them: printed, and as sweep.csv."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..build.workspace import Workspace
from ..console import rule, say, table
from ..distributed.rank import process_rank
from ..errors import UserError
from ..files import side_file, write_text
from ..record.figures import Figure, finite
from .compose import Composed

TABLE = "sweep.csv"
"""File name of the table."""


@dataclass(frozen=True)
class Row:
    """Row of the table: a run, or the mean of runs that differ only in the seed."""

    settings: dict[str, str]
    """Values of the settings that the sweep varies, by path."""
    figures: dict[str, Figure] = field(default_factory=dict)
    """Figures of the run, by column."""
    folder: str = ""
    """Folder of the run; "" for a mean."""
    runs: int | None = None
    """Number of runs in a mean; None for a single run."""
    failed: bool = False
    """Whether the run failed."""

    @property
    def rank(self) -> tuple[bool, float]:
        """Sort key: the first figure; rows without one are last."""
        first = next(iter(self.figures.values()), None)
        missing = first is None or math.isnan(first.value)
        return missing, 0.0 if first is None or missing else first.value


def execute_all(
    sweep: Sequence[tuple[Composed, Workspace]],
    execute: Callable[[Composed, Workspace], list[Figure]],
    folder: Path,
) -> None:
    """Execute the runs in sequence, write sweep.csv after each one, and print the table at the end.

    A failed run does not stop the others.

    Args:
        sweep: Runs with their workspaces.
        execute: Function that executes a run and returns its figures.
        folder: Folder of sweep.csv.

    Raises:
        UserError: A run failed; raised after the last run.
    """
    rows: list[Row] = []
    failed = []
    for composed, workspace in sweep:
        rule(composed.label)
        row = Row(dict(_pair(setting) for setting in composed.varied), folder=str(workspace.folder))
        try:
            rows.append(replace(row, figures=by_column(execute(composed, workspace))))
        except UserError as error:
            say(f"error: {error}")
            failed.append(composed.label)
            rows.append(replace(row, failed=True))
        if process_rank().rank == 0:
            with side_file(folder / TABLE):
                write_text(folder / TABLE, as_csv(compared(rows)))
    rule("sweep")
    _print(compared(rows))
    if failed:
        raise UserError(f"{len(failed)} of {len(rows)} runs failed: {'; '.join(failed)}.")


def by_column(figures: Sequence[Figure]) -> dict[str, Figure]:
    """Figures by column: name and unit, and the set where it is not the first figure's."""
    return {
        figure.title if figure.set == figures[0].set else f"{figure.title} of {figure.set}": figure
        for figure in figures
    }


def compared(rows: Sequence[Row]) -> list[Row]:
    """The rows of runs, then the rows of means over seeds, each sorted by the first figure."""
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        if row.figures and "seed" in row.settings:
            others = tuple((path, value) for path, value in row.settings.items() if path != "seed")
            groups.setdefault(others, []).append(row)
    means = [mean_over_seeds(group) for group in groups.values() if len(group) > 1]
    return [*sorted(rows, key=lambda row: row.rank), *sorted(means, key=lambda row: row.rank)]


def mean_over_seeds(rows: Sequence[Row]) -> Row:
    """The mean of each figure that all rows have, with its standard error over the rows."""
    figures = {}
    for column, figure in rows[0].figures.items():
        values = [row.figures[column].value for row in rows if column in row.figures]
        if len(values) == len(rows):
            error = statistics.stdev(values) / math.sqrt(len(values)) if all(map(math.isfinite, values)) else None
            figures[column] = replace(figure, value=sum(values) / len(values), standard_error=error)
    return Row({**rows[0].settings, "seed": "mean"}, figures, runs=len(rows))


def as_csv(rows: Sequence[Row]) -> str:
    """The table as CSV: settings, each figure with its standard error, runs (of a mean), failed, folder."""
    columns = dict.fromkeys(column for row in rows for column in row.figures)
    settings = dict.fromkeys(path for row in rows for path in row.settings)
    cells = [
        {
            **row.settings,
            **{column: finite(figure.value) for column, figure in row.figures.items()},
            **{_error(column): finite(figure.standard_error) for column, figure in row.figures.items()},
            "runs": row.runs,
            "failed": "yes" if row.failed else "",
            "folder": row.folder,
        }
        for row in rows
    ]
    names = [*settings, *(name for column in columns for name in (column, _error(column)))]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*names, "runs", "failed", "folder"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    return text.getvalue()


def _print(rows: Sequence[Row]) -> None:
    columns = [*dict.fromkeys(column for row in rows for column in row.figures)]
    failed = ["failed"] if any(row.failed for row in rows) else []
    cells = [
        [
            _label(row),
            *(str(row.figures.get(column, "")) for column in columns),
            *("yes" if row.failed else "" for _ in failed),
            row.folder,
        ]
        for row in rows
    ]
    table("run", *columns, *failed, "folder", rows=cells)
    if any(row.runs for row in rows):
        say("± one standard error: over the sequences of a run, over the runs of a mean")


def _label(row: Row) -> str:
    """The label of a run; for a mean, the settings that its runs share and the number of seeds."""
    if row.runs is None:
        return ",".join(f"{path}={value}" for path, value in row.settings.items())
    common = ",".join(f"{path}={value}" for path, value in row.settings.items() if path != "seed")
    return f"{common} mean of {row.runs} seeds".strip()


def _error(column: str) -> str:
    return f"{column} standard error"


def _pair(setting: str) -> tuple[str, str]:
    path, _, value = setting.partition("=")
    return path, value
