"""Importing, training, resuming and sampling in one process need nothing that Windows lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sedd_core import UserError, files
from sedd_core.build.lock import LOCK, locked
from sedd_core.cli import processes
from sedd_core.cli.main import main
from sedd_core.text.hub import is_hub_id
from tests.support.runs import TINY

AS_ON_WINDOWS = """
import importlib, os, pkgutil, signal, sys
import absl.app, fiddle, filelock, getpass, numpy, rich.progress, safetensors.torch, tokenizers, torch
import torch.optim.lr_scheduler, torch.nn.parallel, torch.utils.flop_counter, torch.profiler, torch._dynamo

for name in ("fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "readline", "syslog", "crypt"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "getuid", "geteuid", "getgid", "getpgid", "setsid", "killpg", "nice", "sysconf",
             "sched_getaffinity", "statvfs", "mkfifo", "chown", "O_DIRECTORY", "O_SYNC"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGALRM", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGQUIT",
             "SIGPIPE", "alarm", "setitimer", "pthread_sigmask", "sigwait"):
    if hasattr(signal, name):
        delattr(signal, name)
def symlink(*args, **named):
    raise OSError(22, "A required privilege is not held by the client")
os.symlink = symlink
for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
    os.environ.pop(name, None)

import sedd_core, sedd_core.files
sedd_core.files.WINDOWS = True
for module in pkgutil.walk_packages(sedd_core.__path__, "sedd_core."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from sedd_core.cli.main import main

code = 0
for command in sys.argv[1].split("|"):
    code = code or main(["launch.py", *command.split()])
sys.exit(code)
"""


def test_a_run_as_on_windows(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 200)
    train = " ".join([*TINY, "training.steps=6", "--run_folder=run"])
    resume = "--run_folder=run --resume training.steps=7 --allow_changes"
    sample = "--fdl_config={} --checkpoint=run count=1 steps=2 --run_folder=out".format(
        Path(__file__).parents[1] / "experiments" / "sample.py"
    )
    program = [sys.executable, "-c", AS_ON_WINDOWS, "|".join([train, resume, sample])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout + done.stderr
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "step_000000006",
        "step_000000007",
    ]
    assert list((tmp_path / "out").glob("**/*.txt"))
    assert "an unnamed user" in (tmp_path / "run" / LOCK).read_text()


def test_a_file_is_synced_by_a_descriptor_that_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows cannot sync a read-only descriptor, nor open a folder."""
    opened: list[tuple[str, int]] = []
    original = os.open

    def recorded(path: str, flags: int, *more: int, **named: int) -> int:
        opened.append((Path(path).name, flags))
        return original(path, flags, *more, **named)

    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(os, "open", recorded)
    with files.writing(tmp_path / "a") as temporary:
        temporary.write_text("a")
    assert opened == [("a.tmp", os.O_RDWR)]


def test_a_lock_into_which_nobody_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a locked file cannot be read or written through another handle."""

    def write_text(path: Path, *args: str, **named: str) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_text", write_text)
    with locked(tmp_path), pytest.raises(UserError, match="Another run is active in"), locked(tmp_path, patience=0.0):
        pass


class Backslashed(type(Path())):
    """A path that is displayed with backslashes, as on Windows."""

    def __str__(self) -> str:
        return super().__str__().replace("/", "\\")

    def as_posix(self) -> str:
        return super().__str__()


def test_a_hub_id_is_one_with_the_separators_of_windows() -> None:
    assert str(Backslashed("louaaron/sedd-small")) == "louaaron\\sedd-small"
    assert is_hub_id(Backslashed("louaaron/sedd-small"))


def test_several_processes_are_refused_on_windows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "WINDOWS", True)
    monkeypatch.chdir(tmp_path)
    assert main(["launch.py", *TINY, "ngpus=2", "--run_folder=run"]) == 1
    assert "on Windows, set ngpus=1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
