"""What a run writes beside its checkpoints is whole or not there, wherever a kill falls; and it is made again."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.runs import KILLED_AT_A_FILE, KILLER, TINY, apart, assert_same, run, write_text

SAVED = [*TINY, "checkpoints.every=4"]  # at each step that is looked at


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)


def test_a_kill_while_samples_are_written_leaves_all_or_none() -> None:
    """The run resumes after that very step, and looks at it again."""
    apart("/sample_1.txt", *SAVED, "--run_folder=killed", code=-signal.SIGKILL, program=("-c", KILLED_AT_A_FILE))
    assert not Path("killed/samples/step_000000004").exists()
    run("--resume", "--run_folder=killed")
    run(*SAVED, "--run_folder=whole")
    assert_same("killed", "whole")


def test_samples_of_an_earlier_life_do_not_hide_that_a_look_was_killed() -> None:
    """Lost checkpoints throw a run back; at the steps that come again there are samples already."""
    run(*SAVED, "--run_folder=killed")
    shutil.copytree("killed", "whole")
    shutil.rmtree("killed/checkpoints")
    resume = ("--resume", "--run_folder=killed")
    apart("in evaluation", "1", *resume, code=-signal.SIGKILL, program=("-c", KILLER))
    assert Path("killed/checkpoints/step_000000004").exists()
    run(*resume)
    assert_same("killed", "whole")


def test_a_kill_before_config_txt_leaves_no_run_without_it() -> None:
    """config.json is what says that a run has begun: it comes last."""
    apart("/config.txt.tmp", *TINY, "--run_folder=run", code=-signal.SIGKILL, program=("-c", KILLED_AT_A_FILE))
    run(*TINY, "--run_folder=run", "--resume")
    assert "training.steps = 12" in re.sub(" +", " ", Path("run/config.txt").read_text())
