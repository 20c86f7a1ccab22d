"""Memory: what training takes, counted before it starts; runs that would not fit; and being out of memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from head_score import ScoreHead

from experiments.models import medium, small
from sedd_core import UserError, plugin
from sedd_core.cli.main import main
from sedd_core.model import memory
from sedd_core.model.memory import GIB, Estimate, estimate, explained, is_exhausted

ROOT = Path(__file__).parents[2]
DRY = ["launch.py", f"--fdl_config={ROOT / 'experiments' / 'absorb_medium.py'}", "--dry_run"]


def counted(size: Any, graph: str, share: float, vocab_size: int = 50257, **settings: Any) -> Estimate:
    process = plugin(f"graph_{graph}")(vocab_size=vocab_size)
    make = partial(plugin("model_ddit"), num_states=process.num_states, **{**size().__arguments__, **settings})
    return estimate(make, process, ScoreHead(scale_by_sigma=graph == "absorb"), 1024, bf16=True, share=share)


@pytest.mark.parametrize(
    ("size", "graph", "share", "gib"),
    [
        (small, "absorb", 0.5, 0.503),
        (medium, "absorb", 0.5, 1.328),
        (small, "absorb", 1.0, 0.505),
        (small, "uniform", 1.0, 0.505),
    ],
)
def test_the_published_sizes(size: Any, graph: str, share: float, gib: float) -> None:
    """Against counts of saved tensors on the real network; no logits are among them.

    By hand: small keeps 5 copies of 169.6M float32 weights, and a pass has its matrix weights but the head's in bfloat16,
    and the float32 gradient of the head's 38.6M.
    """
    found = counted(size, graph, share)
    assert found.per_sequence / GIB == pytest.approx(gib, rel=0.02)
    if size is small:
        assert found.kept == pytest.approx(5 * 4 * 169.6e6, rel=1e-3)
        assert found.per_pass == pytest.approx(2 * (131e6 - 38.6e6) + 4 * 38.6e6, rel=0.02)


def test_the_count_is_what_a_pass_takes() -> None:
    """A real pass of a small network on this machine, of tensors that have content, counted by the same hook."""
    process = plugin("graph_absorb")(vocab_size=500)
    make = partial(plugin("model_ddit"), num_states=501, hidden_size=32, n_blocks=2, n_heads=2)
    found = estimate(make, process, ScoreHead(), 64, bf16=False)
    model = memory.ScoreModel(make(), process, ScoreHead())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert found.per_pass + 3 * found.per_sequence == pytest.approx(
        memory.peak_bytes(model, 64, 3, 1.0, False), rel=0.02
    )


def test_what_fits() -> None:
    one = Estimate(kept=10 * GIB, per_pass=GIB, per_sequence=2 * GIB)
    assert one.total(16) == 43 * GIB
    assert one.max_sequences(44 * GIB) == 16
    assert one.max_sequences(44 * GIB - 1) == 15
    assert one.max_sequences(2 * GIB) == 0
    memory.check(one, 16, 44 * GIB)
    with pytest.raises(
        UserError, match=r"has 43\.0 GiB.*43\.00 GiB: 11\.00 GiB.*2\.000 GiB per sequence.*microbatch=8 "
    ):
        memory.check(one, 16, 43 * GIB)
    with pytest.raises(UserError, match=r"Not even one sequence fits: lower data\.length"):
        memory.check(one, 16, 12 * GIB)


def test_a_run_that_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One block of the headline experiment on GPUs of 6 GiB: 16 sequences per pass fit, 64 do not."""
    monkeypatch.chdir(tmp_path)
    small_net = ["model.n_blocks=1", "ngpus=8"]
    assert main([*DRY, *small_net]) == 0
    assert "GiB per sequence, 16 sequences per pass; on each GPU" in capsys.readouterr().out
    monkeypatch.setattr(memory, "device_memory", lambda: 6 * GIB)
    assert main([*DRY, *small_net]) == 0
    assert main([*DRY, *small_net, "training.microbatch=None"]) == 1
    message = capsys.readouterr().err
    assert "The smallest GPU has 6.0 GiB" in message
    assert "64 sequences per pass" in message
    assert "Set training.microbatch=16" in message
    assert not any(tmp_path.iterdir())


def test_a_network_that_looks_at_its_tensors_is_not_counted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The run is then not refused: the rehearsal shows what it takes."""
    file = tmp_path / "mine.py"
    file.write_text(
        "import fiddle as fdl\n"
        "from experiments.quickstart import config as quickstart\n"
        "from model_ddit import DDiT\n"
        "class Mine(DDiT):\n"
        "    def forward(self, x, level, cond=None, documents=None, clean=None, past=None):\n"
        "        assert x.max().item() >= 0\n"
        "        return super().forward(x, level, cond, documents, clean, past)\n"
        "def config():\n"
        "    run = quickstart()\n"
        "    run.model = fdl.Partial(Mine, hidden_size=16, n_heads=2, n_blocks=1)\n"
        "    return run\n"
    )
    assert main(["launch.py", f"--fdl_config={file}", "--dry_run"]) == 0
    assert "memory   unknown before the run: the network does not run without data" in capsys.readouterr().out


EXHAUSTED = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    MemoryError(),
]


@pytest.mark.parametrize("error", EXHAUSTED, ids=lambda error: type(error).__name__)
def test_being_out_of_memory_is_explained(error: Exception) -> None:
    assert is_exhausted(error)
    with (
        pytest.raises(UserError, match=r"Out of memory in training: .*Lower training\.microbatch\."),
        explained("training", "training.microbatch"),
    ):
        raise error


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), explained("training", "training.microbatch"):
        raise RuntimeError("shapes differ")
    with pytest.raises(UserError, match="inner"), explained("outer", "b"), explained("inner", "a"):
        raise MemoryError


def test_the_cpus_allocator_is_known() -> None:
    with pytest.raises(UserError, match="Out of memory in a test"), explained("a test", "it"):
        torch.empty(2**50)
