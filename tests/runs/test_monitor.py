"""TensorBoard after kills: one point for each name and step, and nothing lost."""

from __future__ import annotations

import math
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sedd_core import plugin
from sedd_core.stages import Monitor
from tests.support.runs import KILLER, TINY, apart, points, run, write_text


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(step: int) -> Any:
    """A monitor of the run in this folder, resumed after `step`."""
    monitor = plugin("monitor_tensorboard")()
    monitor.start(Path(), step)
    return monitor


def test_every_reader_sees_one_point_for_a_step_after_a_kill() -> None:
    """Also one that ignores purge marks; what came after the step that the run resumes from is told again."""
    killed = told(0)
    for step in (2, 4, 6):
        killed.scalars({"a": float(step), "b": -float(step)}, step)
        killed.text("t", f"at {step}", step)
    killed.flush()  # and never closed
    resumed = told(4)
    resumed.scalars({"a": 60.0}, 6)
    resumed.close()
    assert points(Path()) == {
        ("a", 2): 2.0,
        ("a", 4): 4.0,
        ("a", 6): 60.0,
        ("b", 2): -2.0,
        ("b", 4): -4.0,
        ("t/text_summary", 2): "    at 2",
        ("t/text_summary", 4): "    at 4",
    }


def test_what_is_told_again_of_the_step_itself_is_told_once() -> None:
    """A kill after the last word on a step, and before the run knew that it was said; a new value replaces it."""
    first = told(0)
    first.scalars({"same": 1.0, "other": 1.0, "nan": math.nan}, 4)
    first.text("t", "one", 4)
    first.close()
    again = told(4)
    again.scalars({"same": 1.0, "other": 2.0, "nan": math.nan}, 4)
    again.text("t", "one", 4)
    again.text("t", "later", 5)
    again.close()
    seen = points(Path())
    assert math.isnan(seen.pop(("nan", 4)))
    assert seen == {
        ("same", 4): 1.0,
        ("other", 4): 2.0,
        ("t/text_summary", 4): "    one",
        ("t/text_summary", 5): "    later",
    }


def test_a_torn_record_and_files_of_other_origin() -> None:
    killed = told(0)
    killed.scalars({"a": 1.0}, 1)
    killed.scalars({"a": 2.0}, 2)
    killed.close()
    (file,) = Path("tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    mine = Path("tensorboard/events.out.tfevents.1.mine")
    shutil.copy(file, mine)
    Path("tensorboard/notes.txt").write_text("mine")
    (Path("tensorboard") / "events.out.tfevents.2.damaged.sedd").write_bytes(b"no events at all")
    before = mine.read_bytes()
    resumed = told(1)
    resumed.scalars({"a": 20.0}, 2)
    resumed.close()
    assert mine.read_bytes() == before
    assert Path("tensorboard/notes.txt").read_text() == "mine"
    mine.unlink()
    assert points(Path()) == {("a", 1): 1.0, ("a", 2): 20.0}


def test_what_is_flushed_is_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    monitor = told(0)
    monitor.scalars({"a": 1.0}, 1)
    assert points(Path()) == {("a", 1): 1.0}  # a kill loses nothing
    monitor.flush()
    assert synced == [next(Path("tensorboard").iterdir()).stat().st_ino]


def test_a_monitor_need_not_flush() -> None:
    class Plain(Monitor):
        def start(self, folder: Path, step: int) -> None: ...
        def scalars(self, values: Any, step: int) -> None: ...
        def text(self, name: str, text: str, step: int) -> None: ...
        def hyperparameters(self, values: Any, figures: Any) -> None: ...
        def close(self) -> None: ...

    Plain().flush()


@pytest.mark.parametrize(
    ("place", "call"),
    [
        pytest.param("in a step", 8, marks=pytest.mark.slow),
        pytest.param("in evaluation", 1, marks=pytest.mark.slow),
        ("before the rename", 3),
    ],
)
def test_a_killed_run_leaves_the_charts_of_one_that_was_not(place: str, call: int, tmp_path: Path) -> None:
    write_text(tmp_path)
    short = [*TINY, "checkpoints.every=4"]
    run(*short, "--run_folder=whole")  # first: its cache of tokens takes renames of its own
    apart(place, str(call), *short, "--run_folder=killed", code=-signal.SIGKILL, program=("-c", KILLER))
    run("--resume", "--run_folder=killed")
    run("--resume", "--run_folder=killed")  # ended runs report again
    killed, whole = points(Path("killed")), points(Path("whole"))
    del killed["command/text_summary", 0], whole["command/text_summary", 0]  # another folder
    assert Counter(tag for tag, _ in killed) == Counter(tag for tag, _ in whole)
    assert {k: v for k, v in killed.items() if "speed" not in k[0]} == {
        k: v for k, v in whole.items() if "speed" not in k[0]
    }
    assert {("config/text_summary", 0), ("samples/1/text_summary", 8), ("train/loss", 8)} <= set(killed)
