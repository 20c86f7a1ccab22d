"""A run over two hosts: two network namespaces of this machine, each with its own address, joined by a virtual cable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.runs import KILLER, ROOT, TINY, log, losses, run, weights, write_text

pytestmark = pytest.mark.slow
HOSTS = {name: f"10.203.{os.getpid() % 250}.{number}" for number, name in enumerate(("a", "b"), 1)}
EXACT = [*TINY, "model.dropout=0", "training.log_every=1"]
KILLED_IN_STEP = "6"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def namespace(host: str) -> str:
    return f"sedd-{os.getpid()}-{host}"


@pytest.fixture(scope="module", autouse=True)
def _hosts() -> Iterator[None]:
    if shutil.which("ip") is None or os.geteuid():
        pytest.skip("needs the program ip, and root, for network namespaces")
    try:
        for host in HOSTS:
            ip("netns", "add", namespace(host))
        ends = [word for host in HOSTS for word in ("netns", namespace(host))]
        ip("link", "add", "cable", *ends[:2], "type", "veth", "peer", "name", "cable", *ends[2:])
        for host, address in HOSTS.items():
            ip("-n", namespace(host), "address", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", namespace(host), "link", "set", device, "up")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not permitted here: {error.stderr.decode().strip()}")
    try:
        yield
    finally:
        for host in HOSTS:
            ip("netns", "delete", namespace(host))


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)


def start(launcher: str, host: str, program: list[str]) -> subprocess.Popen[str]:
    """Start one of two processes on a host, as torchrun or srun starts it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "cable"}
    command = [sys.executable, *program]
    if launcher == "torchrun":
        options = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--local-addr={HOSTS[host]}"]
        meeting = [f"--rdzv-endpoint={HOSTS['a']}:29500", "--rdzv-id=run"]
        meeting += [f"--rdzv-conf=is_host={str(host == 'a').lower()}", "--no-python"]  # both have one host name
        command = [sys.executable, "-m", "torch.distributed.run", *options, *meeting, *command]
    else:
        environment |= {"SLURM_PROCID": str("ab".index(host)), "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}
        environment |= {"MASTER_ADDR": HOSTS["a"], "MASTER_PORT": "29500"}
    return subprocess.Popen(
        ["ip", "netns", "exec", namespace(host), *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(processes: list[subprocess.Popen[str]]) -> tuple[list[int], str]:
    """Wait for both. Returns their exit codes, and what they said."""
    said = [process.communicate(timeout=240)[0] for process in processes]
    return [process.returncode for process in processes], "".join(said)


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_two_hosts_train_as_one_and_continue_when_one_was_killed(launcher: str) -> None:
    run(*EXACT, "--run_folder=one")
    first = [*EXACT, "--run_folder=two"]
    programs = {"a": [str(ROOT / "launch.py"), *first], "b": ["-c", KILLER, "in a step", KILLED_IN_STEP, *first]}
    codes, said = end([start(launcher, host, programs[host]) for host in HOSTS])
    assert all(codes), said
    assert Path("two/log.txt").exists(), said
    assert len(log("two")) < len(log("one"))
    assert Path("two/checkpoints/newest").resolve().name == "step_000000003"
    again = [str(ROOT / "launch.py"), *first, "--resume"]
    codes, said = end([start(launcher, host, again) for host in HOSTS])
    assert codes == [0, 0], said
    assert "resumed  after step 3" in said
    assert "cpu, 2 processes" in said
    assert len(losses("one")) == len(losses("two"))
    assert torch.allclose(losses("one"), losses("two"), rtol=2e-3)
    for name, value in weights("one").items():
        assert torch.allclose(value, weights("two")[name], atol=2e-4), name
