"""The rehearsal before the first update: it meets what would fail later, and leaves no trace; and out of memory."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluator_bound
import pytest
import torch
import torch.distributed as dist
from objective_score_entropy import ScoreEntropy
from torch.nn.parallel import DistributedDataParallel

from sedd_core import checkpoints
from sedd_core.runs import sample as sampling_run
from sedd_core.runs import train
from sedd_core.stages import Batch, Data
from sedd_core.training import rehearsal, samples
from sedd_core.training.loss import Loss
from sedd_core.training.trainer import Trainer
from tests.support.runs import TINY, assert_same, run, weights, write_text


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("accum", [1, 2])
def test_a_run_is_the_same_with_and_without_it(
    accum: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the bit, with dropout, when it is resumed too: weights, averages, log, samples, bound, files."""
    parts = f"training.accum={accum}"
    run(*TINY, parts, "--run_folder=with", "training.steps=6")
    run("--resume", "--run_folder=with", "training.steps=12")
    out = capsys.readouterr().out
    line = (
        f"rehearsal  one microbatch of {8 // accum} sequences, one validation batch, one sampling step, one checkpoint"
    )
    assert out.splitlines().count(line) == 2
    run("--resume", "--run_folder=with")  # nothing is left to train
    assert "rehearsal" not in capsys.readouterr().out
    monkeypatch.setattr(train, "rehearse", lambda *arguments: None)
    run(*TINY, parts, "--run_folder=without", "training.steps=6")
    run("--resume", "--run_folder=without", "training.steps=12")
    assert_same("with", "without")
    names = [
        sorted(p.name for p in Path(folder).rglob("*") if "events" not in p.name) for folder in ("with", "without")
    ]
    assert names[0] == names[1]


def test_it_leaves_every_state_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    rehearse, seen = rehearsal.rehearse, []

    def state(loop: Any, evaluations: Any) -> list[Any]:
        trainer = loop.trainer
        tensors = [t.clone() for t in [*trainer.parameters, *trainer.ema.average, torch.get_rng_state()]]
        others = [
            trainer.state(),
            loop.meter.state(),
            [vars(one).get("sampler") and vars(one.sampler).copy() for one in evaluations],
            trainer.schedule.last_epoch,
        ]
        return [tensors, repr(others), [p.grad is None for p in trainer.parameters], trainer.model.training]

    def watched(loop: Any, evaluations: Any, step: int) -> None:
        before = state(loop, evaluations)
        rehearse(loop, evaluations, step)
        after = state(loop, evaluations)
        assert all(torch.equal(one, other) for one, other in zip(before[0], after[0], strict=True))
        assert before[1:] == after[1:]
        seen.append(step)

    monkeypatch.setattr(train, "rehearse", watched)
    run(*TINY, "--run_folder=run", "training.steps=3")
    run("--resume", "--run_folder=run", "training.steps=4")
    assert seen == [0, 3]


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_its_pass_is_the_largest_there_is(graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a part's sequences, every position in the loss, with gradients and moments in memory as in an update."""
    integrand, calls = ScoreEntropy.integrand, []

    def watched(self: ScoreEntropy, model: Any, x: Any, level: Any, batch: Batch) -> Any:
        if not calls:
            assert all(p.grad is not None for p in model.parameters())
        share = model.graph.reachable(x, level).double().mean().item()
        calls.append((x.clone(), batch.loss_mask, share, level.sigma.min().item()))
        return integrand(self, model, x, level, batch)

    monkeypatch.setattr(ScoreEntropy, "integrand", watched)
    run(*TINY, f"graph={graph}", "--run_folder=run", "training.microbatch=4", "training.steps=1")
    x, counts, share, sigma = calls[0]
    assert x.shape == (4, 16)
    assert counts is None
    assert share > 0.95
    assert sigma > 6.9
    saved = checkpoints.save
    sizes = []

    def measured(folder: Path, *arguments: Any) -> None:
        saved(folder, *arguments)
        sizes.append(sum(file.stat().st_size for file in folder.iterdir()))

    monkeypatch.setattr(checkpoints, "save", measured)
    run(*TINY, f"graph={graph}", "--run_folder=other", "training.steps=1")
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)  # the moments are in it


def test_processes_exchange_nothing(tmp_path: Path) -> None:
    """Its pass stays each process's own; the updates that follow are those without it."""
    from tests.support.trainers import trainer

    exchanged: list[int] = []

    def count(state, bucket):  # DDP takes no annotations that are texts
        exchanged.append(bucket.index())
        future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    losses = []
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        for rehearsed in (True, False):
            learner = trainer("absorb", "loglinear", scale=True)
            learner.microbatches = list(torch.arange(learner.training.batch_size).view(2, -1))
            wrapped = DistributedDataParallel(learner.loss, gradient_as_bucket_view=True)
            learner.loss = wrapped
            wrapped.register_comm_hook(None, count)
            exchanged.clear()
            if rehearsed:
                with rehearsal.update_memory(learner):
                    rehearsal.full_pass(learner, 0)
                assert exchanged == []
            losses.append([learner.step(step).loss for step in range(4)])
            assert exchanged.count(0) == 4
    finally:
        dist.destroy_process_group()
    assert losses[0] == losses[1]


def failing(error: Exception, original: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A function that fails; with an original, from its second call on: the first is the rehearsal's."""
    calls: list[object] = []

    def fail(*arguments: object, **named: object) -> Any:
        calls.append(arguments)
        if original is not None and len(calls) == 1:
            return original(*arguments, **named)
        raise error

    return fail


MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
LATE = {
    "the bound": (
        evaluator_bound,
        "terms",
        MEMORY,
        "Out of memory in validation (evaluator_bound): CUDA out of memory. Tried to allocate",
    ),
    "a sample": (samples, "sample", MEMORY, "Lower samples.count, or data.length."),
    "a pass": (Loss, "forward", MEMORY, "Lower training.microbatch (or raise training.accum)"),
    "a save": (
        checkpoints.folder.torch,
        "save",
        OSError(errno.ENOSPC, "No space left on device"),
        "No space left on device",
    ),
    "memory in a save": (checkpoints.folder.torch, "save", MEMORY, "Out of memory in"),
}


@pytest.mark.parametrize("late", LATE)
def test_what_would_fail_late_fails_before_the_first_update(
    late: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner, name, error, words = LATE[late]
    updates = []
    monkeypatch.setattr(Trainer, "update", lambda *arguments: updates.append(arguments))
    monkeypatch.setattr(owner, name, failing(error))
    run(*TINY, "--run_folder=run", code=1)
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert updates == []
    assert not Path("run/checkpoints").exists()
    assert not Path("run/rehearsal.tmp").exists()


OUT = {
    "an update": (
        Trainer,
        "update",
        "Out of memory in training: ",
        "Lower training.microbatch (or raise training.accum)",
    ),
    "validation": (
        evaluator_bound,
        "estimate",
        "Out of memory in validation (evaluator_bound): ",
        "Lower the batch size of evaluator",
    ),
    "a sample": (samples, "sample", "Out of memory in sampling: ", "Lower samples.count"),
    "the data": (Data, "check_cache", "Out of memory in the run: ", "Lower the size of the model, or data.length."),
}


@pytest.mark.parametrize("place", OUT)
def test_out_of_memory_anywhere_is_one_message(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner, name, what, lower = OUT[place]
    if place == "the data":
        owner = type(_data_of_the_run())
    error = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
    monkeypatch.setattr(owner, name, failing(error, samples.sample if place == "a sample" else None))
    run(*TINY, "--run_folder=run", code=1)
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert what in said
    assert lower in said


def _data_of_the_run() -> Any:
    from sedd_core import plugin

    return plugin("data_text")(paths=("text.txt",), tokenizer="char", length=16)


def test_out_of_memory_in_a_sampling_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--run_folder=run", "training.steps=1")
    assert weights("run")
    monkeypatch.setattr(sampling_run, "sample", failing(MEMORY))
    experiment = Path(__file__).parents[2] / "experiments" / "sample.py"
    run(f"--fdl_config={experiment}", "--checkpoint=run", "--run_folder=samples", code=1)
    assert "Out of memory in sampling" in capsys.readouterr().err
