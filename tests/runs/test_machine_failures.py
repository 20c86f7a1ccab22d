"""Failures of the machine and of what only watches: one message or one warning, never a traceback, no lost run."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sedd_core import UserError, plugin
from sedd_core.cli import main as cli
from sedd_core.distributed.rank import process_rank
from sedd_core.errors import machine_failures_explained
from sedd_core.files import writing, writing_folder
from tests.support.runs import TINY, run, write_text

PROMPTS = "from experiments.sample import config as base\ndef config():\n    c = base()\n"


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path)


KINDS = ("EIO", "EROFS", "ESTALE", "ENOSPC", "EDQUOT", "EACCES", "EMFILE", "ENOTCONN", "ENAMETOOLONG", "ENOMEM")


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_of_the_machine_says_what_where_and_how_to_resume(kind: str, tmp_path: Path) -> None:
    number = getattr(errno, kind)
    (tmp_path / "config.json").touch()
    with pytest.raises(UserError) as caught, machine_failures_explained(tmp_path):
        raise OSError(number, "", "some/file")
    message = str(caught.value)
    assert message.startswith(f"some/file: {os.strerror(number)}. ")
    assert f"--resume --run_folder={tmp_path}" in message
    with pytest.raises(UserError) as caught, machine_failures_explained(tmp_path):
        raise OSError(number, "in a write, which names no file")
    assert str(caught.value).startswith(f"{tmp_path}: ")


def test_a_failure_that_a_library_in_rust_quotes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Input/output error"), machine_failures_explained():
        raise RuntimeError("Error while serializing: I/O error: Input/output error (os error 5)")


@pytest.mark.parametrize("kind", ["EBADF", "EINVAL", "ENOENT", "EEXIST", "ENOTDIR", "EPIPE"])
def test_a_bug_keeps_its_traceback(kind: str) -> None:
    with pytest.raises(OSError, match=r"^\[Errno"), machine_failures_explained():
        raise OSError(getattr(errno, kind), "")


@pytest.mark.parametrize("writer", [writing, writing_folder])
def test_what_was_to_be_written_is_named(writer: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(OSError, match="figures") as caught, writer(tmp_path / "figures"):
        raise OSError(errno.EIO, "")
    assert caught.value.filename == str(tmp_path / "figures")


@pytest.mark.parametrize(
    "where", ["sedd_core.training.samples.report_samples", "sedd_core.training.trainer.Trainer.update"]
)
@pytest.mark.parametrize("sweep", [(), ("seed=0,1",)])
def test_a_run_that_meets_one_ends_with_one_message(
    where: str, sweep: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(where, fail)
    run(*TINY, "training.steps=2", "training.eval_every=0", *sweep, "--run_folder=run", code=1)
    captured = capsys.readouterr()
    folder = "run/seed=0" if sweep else "run"
    assert f"error: {folder}: Stale file handle." in captured.out + captured.err
    assert f"--resume --run_folder={folder}" in captured.out + captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert ("2 of 2 runs failed" in captured.err) == bool(sweep)


@pytest.mark.parametrize("call", ["start", "scalars", "text", "hyperparameters", "close"])
def test_a_monitor_that_fails_loses_nothing(
    call: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = plugin("monitor_tensorboard")  # checked against its contract before it is changed

    def fail(self: object, *arguments: object) -> None:
        raise RuntimeError("the server is gone")

    monkeypatch.setattr(cls, call, fail)
    run(*TINY, "training.steps=4", "--run_folder=run")
    said = capsys.readouterr().out
    assert said.count("warning: ") == 1
    assert f"monitor_tensorboard failed in {call} (RuntimeError: the server is gone)" in said
    assert json.loads(Path("run/results.json").read_text())
    assert Path("run/log.txt").read_text().splitlines()[-1].startswith("step       4")


NUL = {
    "a flag": ["--run_folder=a\0b"],
    "a setting": ["data.paths=a\0b"],
    "an experiment": ["--fdl_config=a\0b.py"],
}


@pytest.mark.parametrize("place", NUL)
def test_a_nul_in_what_is_typed(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, *NUL[place], code=1)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "contains a NUL character" in error
    assert not Path("runs").exists()


@pytest.mark.parametrize("setting", ["checkpoint", "prompts", "tokenizer"])
def test_a_nul_in_an_experiment(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("nul.py").write_text(f"{PROMPTS}    c.checkpoint = 'x'\n    c.{setting} = 'a\\0b'\n    return c\n")
    run("--fdl_config=nul.py", code=1)
    assert f"error: {setting} is 'a\\x00b'; no setting can contain a NUL character." in capsys.readouterr().err


ENVIRONMENTS = {
    "no number": ({"RANK": "x"}, "RANK='x'"),
    "no processes": ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
    "a rank beyond": ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2"),
    "below": ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK=-1"),
    "a local rank below": ({"LOCAL_RANK": "-1"}, "LOCAL_RANK=-1"),
    "empty": ({"WORLD_SIZE": ""}, "WORLD_SIZE=''"),
    "SLURM's tasks": ({"SLURM_PROCID": "0", "SLURM_NTASKS": "many"}, "SLURM_NTASKS='many'"),
    "SLURM's rank": ({"SLURM_PROCID": "?", "SLURM_NTASKS": "2"}, "SLURM_PROCID='?'"),
    "SLURM's rank beyond": ({"SLURM_PROCID": "5", "SLURM_NTASKS": "2"}, "SLURM_PROCID=5"),
    "restarts": ({"SLURM_RESTART_COUNT": "x"}, "SLURM_RESTART_COUNT='x'"),
}


@pytest.mark.parametrize("disorder", ENVIRONMENTS)
def test_an_environment_that_describes_no_process(
    disorder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, words = ENVIRONMENTS[disorder]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["launch.py", *TINY, "--dry_run"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert "unset them" in error


def test_tasks_of_slurm_are_no_processes_of_a_run_that_srun_did_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")  # within salloc
    assert process_rank() == (0, 1, 0)
