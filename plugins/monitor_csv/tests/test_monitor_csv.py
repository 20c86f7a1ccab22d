"""The table of metrics: one row per name and step, after kills too."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from sedd_core import plugin
from sedd_core.testing import check_plugin


def started(folder: Path, step: int) -> Any:
    monitor = plugin("monitor_csv")()
    monitor.start(folder, step)
    return monitor


def rows(folder: Path) -> list[tuple[int, str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [(int(row["step"]), row["name"], float(row["value"])) for row in csv.DictReader(file)]


def test_conformance() -> None:
    check_plugin("monitor_csv")


def test_every_digit_is_kept(tmp_path: Path) -> None:
    monitor = started(tmp_path, 0)
    monitor.scalars({"train/loss": 1 / 3, "a, with a comma": 1e-300}, 1)
    monitor.scalars({"nan": math.nan}, 2)
    monitor.close()
    *exact, last = rows(tmp_path)
    assert exact == [(1, "train/loss", 1 / 3), (1, "a, with a comma", 1e-300)]
    assert math.isnan(last[2])


def test_a_resumed_run_has_one_row_per_name_and_step(tmp_path: Path) -> None:
    killed = started(tmp_path, 0)
    for step in (2, 4, 6):
        killed.scalars({"a": float(step), "b": -float(step)}, step)
    killed.flush()  # and never closed
    resumed = started(tmp_path, 4)
    assert [step for step, *_ in rows(tmp_path)] == [2, 2, 4, 4]
    resumed.scalars({"b": 40.0}, 4)
    resumed.scalars({"a": 60.0}, 6)
    resumed.close()
    assert rows(tmp_path) == [(2, "a", 2.0), (2, "b", -2.0), (4, "a", 4.0), (4, "b", 40.0), (6, "a", 60.0)]


def test_a_row_that_was_cut_by_a_kill_is_dropped(tmp_path: Path) -> None:
    monitor = started(tmp_path, 0)
    monitor.scalars({"a": 1.0}, 1)
    monitor.scalars({"a": 2.25}, 2)
    monitor.close()
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text()[:-3])  # 2,a,2. where 2.25 stood
    started(tmp_path, 5).close()
    assert rows(tmp_path) == [(1, "a", 1.0)]
