"""The folder of a run: one run at a time in it, and none that two starts share."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from sedd_core import UserError
from sedd_core.build import lock
from sedd_core.build.lock import LOCK, locked
from sedd_core.build.workspace import Workspace
from sedd_core.cli.experiment import name_of_run
from sedd_core.files import kernel_lock, new_folder
from sedd_core.record import Node, Record
from tests.support.runs import ROOT, TINY, apart, run, write_text

SHORT = [*TINY, "training.steps=2", "monitor=None", "samples.count=1"]
SAMPLE = [f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "--checkpoint=run", "steps=2", "count=1"]


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lock, "PATIENCE", 0.0)


def test_a_second_run_in_a_folder_is_refused_and_says_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Training and sampling alike; nothing of the first one's is touched."""
    run(*SHORT, "--run_folder=run")
    run(*SAMPLE, "--run_folder=drawn")
    for folder, command in {"run": ["--resume", "training.steps=4"], "drawn": [*SAMPLE, "--resume"]}.items():
        before = {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file() and path.name != LOCK}
        with locked(Path(folder)):
            run(*command, f"--run_folder={folder}", code=1)
        error = capsys.readouterr().err
        assert f"error: Another run is active in {folder}: started by" in error
        assert re.search(rf"on \S+ \(process {os.getpid()}\), since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", error)
        assert "--run_folder=..." in error
        after = {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file() and path.name != LOCK}
        assert after == before
        run(*command, f"--run_folder={folder}")


def test_several_processes_are_refused_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    run(*SHORT, "--run_folder=run")
    with locked(Path("run")):
        run("--resume", "--run_folder=run", "training.steps=4", "ngpus=2", code=1)
    assert capsys.readouterr().err.count("Another run is active in run") == 1


def test_the_lock_of_a_killed_run_holds_nothing_up() -> None:
    """Held by the process that trains, from its start to its end; what a kill leaves is a file that says nothing."""
    code = (
        "import os, signal, sys; from sedd_core.training.trainer import Trainer; from sedd_core.cli.main import main\n"
        "from pathlib import Path; from filelock import Timeout; from sedd_core.files import kernel_lock\n"
        "def update(*_):\n"
        "    try: kernel_lock(Path('run/run.lock')).acquire(timeout=0)\n"
        "    except Timeout: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Trainer.update = update\n"
        "sys.exit(main(['launch.py', *sys.argv[1:]]))"
    )
    apart(*SHORT, "--run_folder=run", program=("-c", code), code=-signal.SIGKILL)
    assert "(process " in Path("run", LOCK).read_text()
    run("--resume", "--run_folder=run")


def test_a_file_system_without_locks_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(number: int) -> None:
        def acquire(self: FileLock, timeout: float | None = None) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(FileLock, "acquire", acquire)

    Path("run").mkdir()
    for number in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
        lacking(number)
        with locked(Path("run")):
            assert "warning: the file system of run has no locks" in capsys.readouterr().out
    lacking(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"), locked(Path("run")):
        pass


def test_what_ends_before_it_begins_leaves_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    run(*SHORT, "data.paths=nowhere.txt", "--run_folder=a/b/run", code=1)
    run(*SHORT, "data.paths=nowhere.txt", code=1)
    assert sorted(path.name for path in Path().iterdir()) == ["text.txt"]
    Path("mine").mkdir()
    run(*SHORT, "data.paths=nowhere.txt", "--run_folder=mine", code=1)
    assert not list(Path("mine").iterdir())


def test_two_starts_in_one_second_take_two_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "20260102-030405")
    for _ in range(3):
        run(*SHORT)
    run(*SHORT, "seed=1,2")
    folders = sorted(path.name for path in Path("runs/quickstart").iterdir())
    assert folders == ["20260102-030405", *(f"20260102-030405-{n}" for n in (2, 3, 4))]
    inside = sorted(path.name for path in Path("runs/quickstart/20260102-030405-4").iterdir())
    assert inside == ["seed=1", "seed=2", "sweep.csv"]
    assert name_of_run("runs/quickstart/20260102-030405-2/config.json") == "quickstart"


def test_a_new_folder_is_one_process_s_alone(tmp_path: Path) -> None:
    names = [new_folder(tmp_path / "a" / "b").name for _ in range(3)]
    assert names == ["b", "b-2", "b-3"]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        new_folder(tmp_path / "file" / "run")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal to children is Linux's")
@pytest.mark.parametrize("early", [False, True])
def test_a_process_ends_with_its_launcher(early: bool) -> None:
    """Also when the launcher has died before the process could ask for that."""
    child = (
        "import sys, time; from pathlib import Path; from sedd_core.distributed.rank import end_with_launcher\n"
        "Path('started').touch()\n"
        "while len(sys.argv) > 1 and not Path('go').exists(): time.sleep(0.01)\n"
        "end_with_launcher(); Path('asked').touch(); time.sleep(300)"
    )
    parent = (
        "import os, subprocess, sys\n"
        "os.environ['TORCHELASTIC_RUN_ID'] = f'sedd-{os.getpid()}'\n"
        "child = subprocess.Popen([sys.executable, '-c', *sys.argv[1:]]); print(child.pid, flush=True); child.wait()"
    )
    command = [sys.executable, "-c", parent, child, *(["wait"] if early else [])]
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    number = int(launcher.stdout.readline())
    wait_until(lambda: Path("started" if early else "asked").exists())
    launcher.kill()
    launcher.wait()
    Path("go").touch()
    wait_until(lambda: not alive(number))


def wait_until(condition: object) -> None:
    assert callable(condition)
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def alive(process: int) -> bool:
    """A zombie, whose parent does not wait for it, is not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_the_lock_is_the_kernel_s(tmp_path: Path) -> None:
    """A file that is there without a process that holds it locks nobody out."""
    (tmp_path / LOCK).write_text("started by someone")
    with locked(tmp_path):
        assert not kernel_lock(tmp_path / LOCK).is_locked
        with pytest.raises(UserError), locked(tmp_path):
            pass


def test_a_folder_that_is_resumed_is_never_removed(tmp_path: Path) -> None:
    """Of a run that had not begun: its record, and whatever the user has put beside it, stay."""
    for resume in (False, True):
        folder = tmp_path / f"resume {resume}"
        folder.mkdir()
        (folder / "config.json").touch()
        (folder / "notes.txt").touch()
        Workspace(folder, Record(run=Node("core", "Train")), resume=resume).remove_unbegun()
        assert folder.exists() == resume
