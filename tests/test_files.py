"""File writes are atomic; locks are released when their holder dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import Timeout

from sedd_core.files import digest, kernel_lock, write_text, writing, writing_folder


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def write_half(file: Path) -> None:
    with writing(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def write_half_a_folder(folder: Path) -> None:
    with writing_folder(folder) as temporary:
        (temporary / "sample_0.txt").write_text("half")
        raise RuntimeError


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    write_text(file, "old")
    with pytest.raises(RuntimeError):
        write_half(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        write_half_a_folder(tmp_path / "samples")
    assert not list(tmp_path.iterdir())


def test_a_folder_replaces_what_a_kill_left(tmp_path: Path) -> None:
    (tmp_path / "samples.tmp").mkdir()
    (tmp_path / "samples.tmp" / "stale").touch()
    with writing_folder(tmp_path / "samples") as temporary:
        (temporary / "sample_0.txt").write_text("whole")
    assert [path.name for path in tmp_path.rglob("*.*")] == ["sample_0.txt"]


def test_permissions_follow_the_umask_whatever_the_writer_chose(tmp_path: Path, umask: int) -> None:
    with writing(tmp_path / "weights") as temporary:
        temporary.touch(0o600)
    with writing_folder(tmp_path / "folder") as temporary:
        (temporary / "weights").touch(0o600)
    modes = {str(p.relative_to(tmp_path)): p.stat().st_mode & 0o777 for p in tmp_path.rglob("*")}
    assert modes == {"weights": 0o640, "folder": 0o750, "folder/weights": 0o640}


def test_text_is_written_as_given(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "one\r\ntwo\n")
    assert (tmp_path / "a").read_bytes() == b"one\r\ntwo\n"
    assert digest(tmp_path / "a") == "611912c05d6113dd9932610cf2d5876c6f05324e05f326a40620dd4f3fd4ac0d"


def test_a_killed_holder_releases_its_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sedd_core.files import kernel_lock\n"
        "lock = kernel_lock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(Timeout):
        kernel_lock(path).acquire(timeout=0)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    started = time.monotonic()
    kernel_lock(path).acquire(timeout=30)
    assert time.monotonic() - started < 30
