"""Ends that take long to test: many kills, a killed rank, restarts, torchrun, the compiler."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.support.runs import ROOT, TINY, apart, assert_same, losses, run, weights, write_text

pytestmark = pytest.mark.slow
LONG = [*TINY, "training.steps=400", "training.eval_every=100", "checkpoints.every=25", "training.log_every=20"]


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "launch.py"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def wait_for(file: Path, words: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not (file.is_file() and words in file.read_text()):
        assert time.monotonic() < until, f"{words} did not come"
        time.sleep(0.05)


def workers(folder: str) -> list[int]:
    """The processes of a run that `launch.py` started, by their ranks."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_text()
            if "sedd_core" in command and f"--run_folder={folder}" in command:
                variables = dict(v.partition("=")[::2] for v in (entry / "environ").read_text().split("\0"))
                found[int(variables["RANK"])] = int(entry.name)
        except (OSError, KeyError):
            continue
    return [found[rank] for rank in sorted(found)]


def test_kills_at_random_and_aimed(seed: int, tmp_path: Path) -> None:
    """A part of the kills of scripts/kill_runs.py: each run ends as the one that was left alone."""
    script = ("scripts/kill_runs.py", "--random=10", "--aimed=4", f"--seed={seed}", f"--folder={tmp_path / 'kills'}")
    said = apart(program=(str(ROOT / script[0]), *script[1:]), patience=1500)
    assert said.count("ok  ") == 2 * 4 + 3
    assert "; 0 lost;" in said


def test_when_one_process_is_killed_the_others_stop_and_say_why() -> None:
    process = start(*LONG, "ngpus=2", "training.steps=100000", "--run_folder=run")
    wait_for(Path("run/log.txt"), "step      40")
    os.kill(workers("run")[1], signal.SIGKILL)
    said, _ = process.communicate(timeout=300)  # below the 600 s after which torch kills what does not stop
    assert process.returncode == 1
    assert "Process 1 was killed by signal 9 (out of memory?)" in said
    assert "To continue from the newest checkpoint: python launch.py --run_folder=run --resume\n" in said
    assert "exitcode" not in said  # torch's own report
    assert "Traceback" not in said.rpartition("error: ")[2]
    assert not workers("run")


def test_when_the_launcher_is_killed_its_processes_save_and_end() -> None:
    """And the folder is free for whoever goes on."""
    process = start(*LONG, "ngpus=2", "training.steps=100000", "--run_folder=run")
    wait_for(Path("run/log.txt"), "step      40")
    process.kill()
    process.communicate(timeout=60)  # its output ends with the last of its processes
    assert not workers("run")
    reached = int(Path("run/checkpoints/newest").resolve().name.removeprefix("step_"))
    assert reached >= 40
    said = apart("--resume", "--run_folder=run", f"training.steps={reached + 20}")
    assert f"resumed  after step {reached}" in said


WAYS = [("one process", signal.SIGTERM), ("all of them", signal.SIGTERM), ("the launcher", signal.SIGINT)]


@pytest.mark.parametrize(("whom", "number"), [*WAYS, ("all of them", signal.SIGINT), ("the launcher", signal.SIGHUP)])
def test_told_to_stop_in_any_way_several_processes_save(whom: str, number: signal.Signals) -> None:
    """A machine or a terminal tells all of them, and the launcher passes it on; or someone tells one."""
    process = start(*LONG, "ngpus=2", "training.steps=100000", "--run_folder=run")
    wait_for(Path("run/log.txt"), "step      40")
    everyone = [process.pid, *workers("run")]
    for one in {"one process": everyone[1:2], "all of them": everyone, "the launcher": everyone[:1]}[whom]:
        os.kill(one, number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 143), said
    assert said.count("Stopped and saved") == (0 if number == signal.SIGHUP else 1)  # the terminal is gone
    assert Path("run/checkpoints/newest").is_dir()
    assert not workers("run")


def test_a_run_saves_when_its_terminal_closes() -> None:
    """Writing to that terminal fails from then on, which must not keep the run from saving."""
    import pty

    child, terminal = pty.fork()
    if child == 0:
        command = [sys.executable, str(ROOT / "launch.py"), *LONG, "training.steps=100000", "--run_folder=run"]
        os.execvpe(sys.executable, command, {**os.environ, "OMP_NUM_THREADS": "1"})
    wait_for(Path("run/log.txt"), "step      40")
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
    assert Path("run/checkpoints/newest").is_dir()


def test_restarts_recover_from_a_killed_process() -> None:
    apart(*LONG, "ngpus=2", "--run_folder=whole")
    process = start(*LONG, "ngpus=2", "--max_restarts=2", "--run_folder=run")
    wait_for(Path("run/log.txt"), "step     100")
    os.kill(workers("run")[1], signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "resumed  after step" in said
    assert_same("run", "whole")


def test_torchrun_starts_the_same_run_and_restarts_it() -> None:
    apart(*LONG, "ngpus=2", "--run_folder=whole")
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1", "--rdzv-backend=c10d")
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    try:
        apart(*LONG, "--run_folder=run", program=(*torchrun, str(ROOT / "launch.py")))
    finally:
        del os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"]
    assert_same("run", "whole")


def test_the_compiler() -> None:
    exact = [*TINY, "model.dropout=0"]
    run(*exact, "--run_folder=plain")
    apart(*exact, "training.compile=true", "--run_folder=compiled")
    assert torch.allclose(losses("plain"), losses("compiled"), rtol=2e-3)
    assert weights("plain").keys() == weights("compiled").keys()
