"""Weights divided over processes (FSDP2): the run of any other shape, and checkpoints that any number of them reads."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sedd_core import UserError
from sedd_core.checkpoints import find_damage
from sedd_core.distributed.sharding import blocks, check_divisible
from tests.support.runs import ROOT, TINY, apart, log, losses, run, trainer, weights, write_text

EXACT = [*TINY, "model.dropout=0", "model.n_blocks=2", "training.log_every=1", "monitor=None"]
FSDP = "training.parallel=fsdp"


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)


def norms(folder: str) -> torch.Tensor:
    """The gradient norms before clipping in a run's log."""
    return torch.tensor([float(found) for line in log(folder) for found in re.findall(r"  grad_norm (\S+)", line)])


def assert_close(one: str, other: str) -> None:
    """The same losses, gradient norms (AdamW hides a wrong scale), weights, averages and figures."""
    assert len(losses(one)) == len(norms(one)) == len(losses(other)) > 0
    assert torch.allclose(losses(one), losses(other), rtol=2e-3)
    assert torch.allclose(norms(one), norms(other), rtol=5e-3)
    for file in ("model", "ema"):
        for name, value in weights(one, file).items():
            assert torch.allclose(value, weights(other, file)[name], atol=2e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("shape", [["ngpus=2", "training.accum=2"], ["ngpus=4"]])
def test_divided_weights_train_as_whole_ones(shape: list[str]) -> None:
    """Updates, validation, samples and checkpoints, which one process reads; 4 processes divide unevenly."""
    apart(*EXACT, *shape, "--run_folder=ddp")
    apart(*EXACT, *shape, FSDP, "--run_folder=fsdp")
    assert_close("ddp", "fsdp")
    texts = [[p.read_text() for p in sorted(Path(f).glob("samples/*/*.txt"))] for f in ("ddp", "fsdp")]
    assert texts[0] == texts[1]
    run(f"--fdl_config={ROOT / 'experiments/sample.py'}", "checkpoint=fsdp", "count=1", "steps=2", "--run_folder=out")


@pytest.mark.slow
def test_a_run_continues_on_1_then_4_then_2_processes_and_1() -> None:
    """The losses of a run that was not interrupted; and two resumes of the same checkpoint are equal to the bit."""
    run(*EXACT, "--run_folder=whole")
    run(*EXACT, FSDP, "training.steps=3", "--run_folder=run")
    for processes, steps in ((4, 6), (2, 9)):
        apart("--run_folder=run", "--resume", f"ngpus={processes}", f"training.steps={steps}")
        moments = list(Path("run/checkpoints/newest/moments").iterdir())
        assert len(moments) == processes
    shutil.copytree("run", "again", symlinks=True)
    apart("--run_folder=run", "--resume", "training.steps=12")
    apart("--run_folder=again", "--resume", "training.steps=12")
    assert_close("whole", "run")
    assert losses("run").tolist() == losses("again").tolist()
    for file in ("model", "ema"):
        assert all(torch.equal(value, weights("again", file)[name]) for name, value in weights("run", file).items())
    run("--run_folder=run", "--resume", "ngpus=1", "training.parallel=ddp", "training.steps=13")
    assert all(isinstance(value, torch.Tensor) for value in trainer("run")["optimizer"]["state"][0].values())
    file = next(Path("again/checkpoints/newest/moments").iterdir())
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert f"moments/{file.name} is damaged" in str(find_damage(Path("again/checkpoints/newest").resolve()))


@pytest.mark.slow
def test_an_interrupted_divided_run_is_the_uninterrupted_one() -> None:
    """At the same number of processes, to the bit: also the moments, which the files have divided."""
    apart(*EXACT, "ngpus=2", FSDP, "training.eval_every=0", "--run_folder=whole")
    apart(*EXACT, "ngpus=2", FSDP, "training.eval_every=0", "training.steps=6", "--run_folder=run")
    apart("--run_folder=run", "--resume", "training.steps=12")
    for file in Path("whole/checkpoints/newest").rglob("*.safetensors"):
        own, other = load_file(file), load_file(Path("run", file.relative_to("whole")))
        assert own.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in own.items()), file


@pytest.mark.slow
def test_bf16_gathers_half_and_sums_in_float32() -> None:
    short = [*EXACT, "ngpus=2", "training.precision=bf16", "training.steps=6", "training.eval_every=0"]
    apart(*short, "--run_folder=ddp")
    apart(*short, FSDP, "--run_folder=fsdp")
    assert torch.allclose(losses("ddp"), losses("fsdp"), rtol=2e-2)
    assert torch.allclose(norms("ddp"), norms("fsdp"), rtol=5e-2)
    assert {value.dtype for value in weights("fsdp").values()} == {torch.float32}


FULL = """
import resource
from dataclasses import dataclass

import fiddle as fdl
from experiments.quickstart import config as quickstart
from sedd_core.distributed.rank import process_rank
from sedd_core.training import Optimizer

@dataclass(frozen=True, kw_only=True)
class Full(Optimizer):
    '''AdamW in a process that can write no file of more than 4 KiB, if it is the second.'''
    def make(self, parameters):
        if process_rank().rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        return super().make(parameters)

def config():
    run = quickstart()
    run.optimizer = fdl.Config(Full)
    return run
"""


@pytest.mark.slow
def test_a_disk_that_is_full_for_one_process_ends_all(tmp_path: Path) -> None:
    (tmp_path / "full.py").write_text(FULL)
    said = apart("--fdl_config=full.py", *EXACT[1:], "ngpus=2", FSDP, "--run_folder=run", code=1, patience=120)
    assert said.count("error: The checkpoint") == 1
    assert "could not be written" in said
    assert "Traceback" not in said
    assert not list(Path("run").glob("**/*.tmp"))


def test_blocks_are_what_lists_hold() -> None:
    network = torch.nn.ModuleDict(
        {
            "a": torch.nn.Linear(1, 1),
            "b": torch.nn.Sequential(torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(3, 3)])),
        }
    )
    assert [block.in_features for block in blocks(network)] == [2, 3]


def test_what_cannot_be_divided_is_refused() -> None:
    tied = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    with pytest.raises(UserError, match="used under several names"):
        check_divisible(tied)
    tied = torch.nn.Module()
    tied.scale = torch.nn.Parameter(torch.ones(()))
    with pytest.raises(UserError, match=r"are scalars \(scale\)"):
        check_divisible(tied)
    check_divisible(torch.nn.Linear(2, 2))
