"""Training on a GPU: host waits, one process of DDP and FSDP, compilation, resuming from a CPU, determinism."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from benchmarks.cases.train_step import Sizes, our_trainer
from benchmarks.pairs import GRAPHS
from sedd_core.distributed import sharding
from sedd_core.distributed.world import World
from sedd_core.model import ScoreModel
from sedd_core.training.batches import TIME_BINS, draws_of
from sedd_core.training.deterministic import deterministic_kernels
from sedd_core.training.loss import Loss
from sedd_core.training.trainer import Trainer
from tests.support.devices import DEVICES

SIZES = Sizes(batch=4, length=16, width=64, blocks=2, vocab=200)
TOKENS = torch.randint(SIZES.vocab, (64, SIZES.length), generator=torch.Generator().manual_seed(0))


def make(device: str, precision: str = "fp32", graph: str = "absorb") -> Trainer:
    return our_trainer(graph, precision, SIZES, TOKENS, torch.device(device))


def waits(function: Callable[[], object], device: str) -> list[str]:
    """Waits of the host for the device: torch's own warnings; on a CPU, the operations that would wait on a GPU.

    These are results that the host reads, `tolist` left out, and tensors made of the host's numbers.
    """
    if device == "cpu":
        made: list[str] = []
        by_name, method = torch.tensor, Tensor.new_tensor
        with (
            profile(activities=[ProfilerActivity.CPU]) as profiler,
            mock.patch.object(torch, "tensor", lambda *a, **k: made.append("torch.tensor") or by_name(*a, **k)),
            mock.patch.object(Tensor, "new_tensor", lambda *a, **k: made.append("new_tensor") or method(*a, **k)),
        ):
            function()
        reading = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select")
        return made + [event.name for event in profiler.events() or () if event.name in reading]
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            function()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [f"{one.filename}:{one.lineno}" for one in caught if "synchronizing" in str(one.message)]


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("device", DEVICES)
def test_a_step_waits_for_the_device_twice_at_most(device: str, graph: str) -> None:
    unseen = device == "cpu"  # the read of an update's figures
    trainer = make(device, "bf16" if device == "cuda" else "fp32", graph)
    for step in range(2):
        trainer.step(step)  # what is loaded and compiled once
    if device == "cpu":
        trainer.optimizer.step = lambda closure=None: None  # it reads its counts, which a GPU has to itself
    stats = torch.zeros(2, TIME_BINS, dtype=torch.float64, device=trainer.device)
    batch = trainer.batch(2, trainer.microbatches[0]).to(trainer.device)
    draws = draws_of(trainer.training, 0, trainer.microbatches[0].to(trainer.device), 2)

    def passes() -> None:
        trainer.forward(batch, draws, 1e-3)[0].backward()

    assert (found := waits(passes, device)) == found[:1], "forward and backward"
    assert (found := waits(lambda: trainer.update(stats), device)) == found[: 1 - unseen], "update"
    with trainer.reading_ahead():
        trainer.step(2)
        assert (found := waits(lambda: trainer.step(3), device)) == found[: 2 - unseen], "step"


@pytest.fixture
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A group of this process alone, over NCCL on a GPU."""
    device = torch.device(request.param, 0) if request.param == "cuda" else torch.device("cpu")
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield World(device=device)
    dist.destroy_process_group()


@pytest.mark.parametrize("group", DEVICES, indirect=True)
@pytest.mark.parametrize("bf16", [False, True])
def test_ddp_and_fsdp_of_one_process_give_the_plain_gradients(group: World, bf16: bool) -> None:
    trainer = make(str(group.device))
    model = trainer.model
    with torch.no_grad():
        for parameter in model.parameters():  # some start at zero
            parameter.normal_(std=0.1)
    divided = ScoreModel(deepcopy(model.backbone).to("meta"), model.graph, model.head)
    losses = {
        "plain": Loss(model, trainer.noise, trainer.objective),
        "ddp": DistributedDataParallel(Loss(deepcopy(model), trainer.noise, trainer.objective)),
        "fsdp": Loss(divided, trainer.noise, trainer.objective),
    }
    values = {**dict(model.backbone.named_parameters()), **dict(model.backbone.named_buffers())}
    sharding.shard(losses["fsdp"], divided.backbone, values, group, bf16=bf16)
    batch = trainer.batch(0, trainer.microbatches[0]).to(trainer.device)
    draws = draws_of(trainer.training, 0, trainer.microbatches[0].to(trainer.device), 0)
    found: dict[str, Tensor] = {}
    for name, loss in losses.items():
        with torch.autocast(group.device.type, torch.bfloat16, enabled=bf16):
            loss(batch, draws, 1e-3)[0].backward()
        gradients = [sharding.whole(p.grad).flatten() for p in loss.parameters() if p.grad is not None]
        found[name] = torch.cat(gradients).float()
    for name in ("ddp", "fsdp"):
        assert (found[name] - found["plain"]).norm() < (3e-2 if bf16 else 1e-5) * found["plain"].norm(), name


@pytest.mark.parametrize("device", DEVICES)
def test_a_compiled_network_trains_as_the_eager_one(device: str) -> None:
    eager, compiled = make(device), make(device)
    compiled.model.backbone.compile(backend="inductor" if device == "cuda" else "eager")
    for step in range(3):
        assert compiled.step(step).loss == pytest.approx(eager.step(step).loss, rel=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_of_a_cpu_continues_on_a_gpu(device: str) -> None:
    before, after = make("cpu"), make(device)
    before.step(0)
    after.model.load_state_dict(before.model.state_dict())
    after.load(before.state())
    devices = {entry["exp_avg"].device.type for entry in after.optimizer.state.values()}
    assert devices == {device}
    for step in (1, 2):
        one, other = before.step(step), after.step(step)
        assert other.loss == pytest.approx(one.loss, rel=1e-4)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-3)


@contextmanager
def deterministic() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # operations without a deterministic kernel: the result decides
        with deterministic_kernels(True):
            yield


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("device", DEVICES)
def test_deterministic_kernels_repeat_a_run_bit_for_bit(device: str, graph: str) -> None:
    results = []
    for _ in range(2):
        with deterministic():
            trainer = make(device, "bf16" if device == "cuda" else "fp32", graph)
            losses = [trainer.step(step).loss for step in range(4)]
        results.append((losses, [parameter.detach().clone() for parameter in trainer.parameters]))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(one, other) for one, other in zip(results[0][1], results[1][1], strict=True))
