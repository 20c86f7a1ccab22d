"""A real SLURM of one node: submitted, preempted, out of time, requeued, and to the same result."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sedd_core.cli import slurm
from tests.support.runs import ROOT, TINY, apart, assert_same, run, write_text

pytestmark = pytest.mark.slow
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL")
EVEN = [*TINY, "checkpoints.every=0", "training.eval_every=0", "training.log_every=50"]


@pytest.fixture(scope="module", autouse=True)
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid():
        pytest.skip(
            f"needs SLURM ({', '.join(missing) or 'started as root'}): as root on Debian, "
            "`scripts/slurm_testbed.sh start FOLDER` installs it"
        )
    folder = tmp_path_factory.mktemp("cluster")
    bed = [str(ROOT / "scripts" / "slurm_testbed.sh")]
    subprocess.run([*bed, "start", str(folder)], check=True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
            patch.setenv("OMP_NUM_THREADS", "1")
            yield
    finally:
        subprocess.run([*bed, "stop", str(folder)], check=True)


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)


def submit(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    run(*arguments)
    (job,) = re.findall(r"Submitted job (\d+)\.", capsys.readouterr().out)
    return job


def state(job: str) -> dict[str, str]:
    """What SLURM says of a job, or of one of an array, by name."""
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"(\w+)=(\S+)", shown))


def preempt(cpus: int) -> None:
    """Have a job with priority want so many of the two CPUs."""
    job = ["sbatch", "--partition=high", f"--ntasks={cpus}", "--output=/dev/null", "--wrap=sleep 1"]
    subprocess.run(job, check=True, capture_output=True)


def wait_for_end(job: str, seconds: float = 150) -> str:
    until = time.monotonic() + seconds
    while state(job)["JobState"] not in OVER:
        assert time.monotonic() < until, f"job {job} does not end: {state(job)}"
        time.sleep(0.5)
    return state(job)["JobState"]


def wait_for_step(folder: str, step: int, seconds: float = 60) -> None:
    until, log = time.monotonic() + seconds, Path(folder, "log.txt")
    while not (log.is_file() and f"step {step:>7}/" in log.read_text()):
        assert time.monotonic() < until, "".join(path.read_text() for path in Path(folder).glob("slurm*.log"))
        time.sleep(0.1)


def said(job: str) -> str:
    return Path(state(job)["StdOut"]).read_text()


def test_preempted_and_out_of_time_a_run_ends_as_if_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM by preemption, then USR1 before the time limit: here within 30 seconds, when SLURM looks for it."""
    monkeypatch.setattr(slurm, "GRACE", 90)
    monkeypatch.setattr(slurm, "EARLY", 29)
    long = [*EVEN, "ngpus=2", "training.steps=4000"]
    job = submit(capsys, *long, "--slurm=partition=low, cpus=1, time=2, mem=1G", "--run_folder=run")
    wait_for_step("run", 100)
    preempt(cpus=2)
    assert wait_for_end(job) == "COMPLETED"
    restarts = int(state(job)["Restarts"])
    assert restarts >= 2
    assert said(job).count("Stopped and saved") >= 2
    assert said(job).count("resumed  after step") >= 2
    assert "cpu, 2 processes" in said(job)
    apart(*long, "--run_folder=whole")
    assert_same("run", "whole")


def test_a_sweep_is_an_array_whose_tasks_are_requeued_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    short = [*EVEN, "training.steps=800"]
    job = submit(capsys, *short, "seed=1,2", "--slurm=partition=low", "--run_folder=sweep")
    for seed in (1, 2):
        wait_for_step(f"sweep/seed={seed}", 100)
    preempt(cpus=1)
    tasks = [f"{job}_{number}" for number in (0, 1)]
    assert [wait_for_end(task) for task in tasks] == ["COMPLETED"] * 2
    assert sorted(state(task)["Restarts"] for task in tasks) == ["0", "1"]
    assert sorted(said(task).count("resumed  after step") for task in tasks) == [0, 1]
    for seed in (1, 2):
        run(*short, f"seed={seed}", f"--run_folder=alone_{seed}")
        assert_same(f"sweep/seed={seed}", f"alone_{seed}")


def test_a_cancelled_run_saves_and_stays_away_until_it_is_submitted_again(capsys: pytest.CaptureFixture[str]) -> None:
    job = submit(capsys, *EVEN, "training.steps=100000", "--slurm=partition=low", "--run_folder=run")
    wait_for_step("run", 100)
    subprocess.run(["scancel", job], check=True)
    time.sleep(3)
    assert state(job)["JobState"] == "CANCELLED"
    assert "Stopped and saved" in said(job)
    saved = int(Path("run/checkpoints/newest").resolve().name.removeprefix("step_"))
    again = ["--resume", "--run_folder=run", f"training.steps={saved + 10}"]
    job = submit(capsys, *again, "--slurm=partition=low")
    assert wait_for_end(job) == "COMPLETED"
    assert f"resumed  after step {saved}" in said(job)


def test_a_mistake_ends_the_job_for_good(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.txt").write_text("the cat")
    job = submit(capsys, *EVEN, "ngpus=2", "--slurm=partition=low", "--run_folder=run")
    assert wait_for_end(job) == "FAILED"
    assert state(job)["Restarts"] == "0"
    assert said(job).count("error: ") - said(job).count("srun: error: ") - said(job).count("slurmstepd") == 1, said(job)
    assert "Traceback" not in said(job)


def test_the_limit_of_requeues(capsys: pytest.CaptureFixture[str]) -> None:
    job = submit(capsys, *EVEN, "training.steps=100000", "--slurm=partition=low, requeue=0", "--run_folder=run")
    wait_for_step("run", 100)
    preempt(cpus=2)
    assert wait_for_end(job) == "FAILED"
    assert "Not requeued: the limit of 0 requeues is reached" in said(job)


def test_what_slurm_refuses_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for sweep in ("seed=1", "seed=1,2"):
        run(*EVEN, sweep, "--slurm=partition=nosuch", "--run_folder=run", code=1)
        assert "SLURM rejected the job: invalid partition specified: nosuch" in capsys.readouterr().err
        assert not Path("run").exists()
