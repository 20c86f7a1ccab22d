"""What differs with GPUs, on a machine without one: torch.cuda and the launchers' environment are played."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import torch.distributed as dist

from sedd_core import UserError
from sedd_core.cli import execute
from sedd_core.distributed import world
from sedd_core.maths.numerics import runs_in_bf16
from sedd_core.training.deterministic import deterministic_kernels
from sedd_core.training.meter import flops_per_token
from tests.support.runs import ROOT, TINY, apart, log, losses, write_text
from tests.support.trainers import trainer


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What torch.cuda says: how many GPUs, whether they work; and which was chosen."""
    state: dict[str, Any] = {"count": 8, "works": True}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: state["count"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: state["works"])
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: state.update(chosen=index))
    return state


def test_gpus_that_the_driver_cannot_use_do_not_count(gpus: dict[str, Any]) -> None:
    assert world.gpu_count() == 8
    gpus["works"] = False  # an old driver: NVML counts its GPUs, CUDA does not start
    assert world.gpu_count() == 0
    assert world.own_device(5) == torch.device("cpu")
    assert "chosen" not in gpus


@pytest.mark.parametrize(
    ("count", "slurm", "index"),
    [(8, False, 5), (8, True, 5), (1, True, 0)],
    ids=["torchrun", "srun, all visible", "srun, one visible: --gpus-per-task, --gpu-bind, --ntasks-per-gpu"],
)
def test_a_process_takes_its_gpu(
    count: int, slurm: bool, index: int, gpus: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus["count"] = count
    if slurm:
        monkeypatch.setenv("SLURM_PROCID", "13")
    assert world.own_device(5) == torch.device("cuda", index)
    assert gpus["chosen"] == index


def test_more_processes_than_gpus_are_refused(gpus: dict[str, Any]) -> None:
    gpus["count"] = 1
    with pytest.raises(UserError, match="This machine has 1 GPUs, and process 1 would need one more"):
        world.own_device(1)
    world.check_devices_differ([("a", "0"), ("a", "1"), ("b", "0")])
    with pytest.raises(UserError, match="Processes 1 and 2 have the same GPU of b"):
        world.check_devices_differ([("a", "0"), ("b", "0"), ("b", "0")])


def test_nccl_trains_and_gloo_waits(gpus: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL gives up after ten minutes while one process tokenizes: objects and waits go over gloo, for hours."""
    calls: list[tuple[Any, ...]] = []
    waiting = Mock(spec=dist.ProcessGroup)
    for name, value in {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, device_id: calls.append((backend, device_id)))
    monkeypatch.setattr(dist, "new_group", lambda backend, timeout: calls.append((backend, timeout)) or waiting)

    def gathered(values: list[Any], value: Any, group: Any) -> None:
        calls.append(("gather", group))
        values[:] = [("host", "0"), ("host", "1")]

    monkeypatch.setattr(dist, "all_gather_object", gathered)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: type("Properties", (), {"uuid": "1"}))
    joined = world.join()
    (backend, device), (waits, patience), *gathers = calls
    assert (backend, device, waits) == ("nccl", torch.device("cuda", 1), "gloo")
    assert patience >= timedelta(hours=12)
    assert joined.waiting is waiting
    assert gathers == [("gather", waiting)]


def test_the_group_is_left_whatever_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    left: list[bool] = []
    monkeypatch.setattr(execute, "leave", lambda: left.append(True))
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path)
    monkeypatch.setattr("sedd_core.runs.train.Train.execute", lambda self, workspace: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        execute_main()
    assert left == [True]


def execute_main() -> None:
    from sedd_core.cli.main import main

    main(["launch.py", *TINY, "--run_folder=run"])


ALLOCATOR = """
import os, sys
def hook(event, arguments):
    if event == "import" and arguments[0] == "torch":
        print([os.environ.get(name) for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")])
        sys.stdout.flush()
        os._exit(0)
sys.addaudithook(hook)
from sedd_core.cli.main import main
main(["launch.py", "--fdl_config=experiments/quickstart.py", "--print_config"])
"""


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, ["expandable_segments:True", None]),
        ({"PYTORCH_ALLOC_CONF": "own"}, ["own", None]),
        ({"PYTORCH_CUDA_ALLOC_CONF": "own"}, [None, "own"]),
    ],
)
def test_the_allocator_is_set_before_torch_is_imported(given: dict[str, str], found: list[str | None]) -> None:
    environment = {name: value for name, value in os.environ.items() if "ALLOC_CONF" not in name}
    result = subprocess.run(
        [sys.executable, "-c", ALLOCATOR], capture_output=True, text=True, cwd=ROOT, env=environment | given, check=True
    )
    assert result.stdout.strip() == str(found)


def test_bf16_is_for_gpus_that_compute_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    for capability, able in {(7, 0): False, (7, 5): False, (8, 0): True, (12, 0): True}.items():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert runs_in_bf16("auto", gpu) is able
        assert runs_in_bf16("bf16", gpu)
        assert not runs_in_bf16("fp32", gpu)
    assert [runs_in_bf16(precision, cpu) for precision in ("auto", "bf16", "fp32")] == [False, True, False]


def test_a_run_without_the_fused_optimizer_continues_with_it() -> None:
    """Fused AdamW has its step counts beside the parameters, in float32: torch moves them by the group's `fused`."""
    before, after = (trainer("absorb", "loglinear", scale=True) for _ in range(2))
    for settings in (before.optimizer.defaults, *before.optimizer.param_groups):
        settings["fused"] = None
    before.step(0)
    state = before.state()
    assert state["settings"]["fused"] is None
    for entry in state["optimizer"]["state"].values():
        entry["step"] = entry["step"].double()  # what torch leaves as it is, unless it moves it
    after.load(state)
    assert {group["fused"] for group in after.optimizer.param_groups} == {True}
    assert {entry["step"].dtype for entry in after.optimizer.state.values()} == {torch.float32}
    assert {int(entry["step"]) for entry in after.optimizer.state.values()} == {1}
    after.step(1)


def test_operations_are_counted_also_of_a_compiled_network(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = trainer("absorb", "loglinear", scale=True)
    counted = flops_per_token(learner, 8)
    monkeypatch.setattr(learner, "training", type(learner.training)(steps=1, batch_size=16, compile=True))
    learner.parallel.evaluated.backbone.compile(backend="aot_eager")
    learner.step(0)
    assert flops_per_token(learner, 8) == counted > 0


def test_deterministic_kernels_end_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with deterministic_kernels(False):
        assert not torch.are_deterministic_algorithms_enabled()
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with deterministic_kernels(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()


COMPILED = """
from functools import partialmethod

import fiddle as fdl
import torch
from experiments.quickstart import config as quickstart
from sedd_core.training import Optimizer

torch.nn.Module.compile = partialmethod(torch.nn.Module.compile, backend="aot_eager")

class Own(Optimizer):
    '''In the record, so that each process imports this file.'''

def config():
    run = quickstart()
    run.optimizer = fdl.Config(Own)
    return run
"""


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_compiled_network_trains_alike_in_two_processes(
    parallel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compiled.py").write_text(COMPILED)
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)
    short = [*TINY[1:], "model.dropout=0", "training.steps=4", "training.eval_every=0", "samples.count=0", "ngpus=2"]
    for folder in ("eager", "compiled"):
        compiled = f"training.compile={str(folder == 'compiled').lower()}"
        apart("--fdl_config=compiled.py", *short, f"training.parallel={parallel}", compiled, f"--run_folder={folder}")
    assert torch.allclose(losses("eager"), losses("compiled"), rtol=1e-3)
    assert log("compiled")
