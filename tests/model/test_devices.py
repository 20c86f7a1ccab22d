"""A device without float64, as MPS is: the network alone runs there, all else on the CPU, to the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from head_score import ScoreHead
from objective_score_entropy import ScoreEntropy
from torch import nn

from sedd_core import plugin
from sedd_core.data.sequences import PackedSequences
from sedd_core.distributed.world import World
from sedd_core.maths import numerics
from sedd_core.maths.draws import Draws
from sedd_core.maths.numerics import float64_device, to_float64
from sedd_core.model.score import ScoreModel, move_to
from sedd_core.sampling.sample import sample
from sedd_core.training.settings import Optimizer, Training
from sedd_core.training.trainer import Trainer
from tests.support.pretended_device import Device, There, moved_there, without_autocast


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    without_autocast(monkeypatch)
    monkeypatch.setattr(numerics, "WITHOUT_FLOAT64", ("meta",))
    with Device(float64=False):
        yield


@pytest.mark.usefixtures("device")
def test_the_device_is_one() -> None:
    moved = torch.ones(2).to("meta")
    assert isinstance(moved, There)
    assert (moved + moved).to("cpu").tolist() == [2.0, 2.0]
    with pytest.raises(TypeError, match="no float64"):
        moved.double()
    with pytest.raises(TypeError, match="no float64"):
        torch.zeros(2, dtype=torch.float64, device="meta")
    with pytest.raises(RuntimeError, match="two devices"):
        moved + torch.ones(2)
    assert to_float64(moved).tolist() == [1.0, 1.0]


def model_of(graph: str) -> ScoreModel:
    process = plugin(f"graph_{graph}")(vocab_size=11)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "n_blocks": 2, "n_heads": 2, "cond_dim": 8, "dropout": 0.0}
    backbone = plugin("model_ddit")(num_states=process.num_states, **sizes)
    nn.init.normal_(backbone.head.weight, std=0.1)
    return ScoreModel(backbone, process, ScoreHead(scale_by_sigma=graph == "absorb"))


CASES = [("absorb", "loglinear"), ("uniform", "geometric")]


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(("graph", "noise"), CASES)
def test_sampling_gives_the_same_tokens(graph: str, noise: str) -> None:
    settings = {"count": 3, "length": 12, "steps": 4, "t_min": 1e-3, "seed": 1, "batch_size": 2}
    schedule = plugin(f"noise_{noise}")()
    for name in ("analytic", "euler"):
        here, there = (
            sample(model.eval(), schedule, plugin(f"sampler_{name}")(), grid="equal", **settings)
            for model in (model_of(graph), moved_there(model_of(graph)))
        )
        assert here.tolist() == there.tolist()


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(("graph", "noise"), CASES)
def test_training_gives_the_same_weights(graph: str, noise: str) -> None:
    data = PackedSequences(torch.arange(400) % 11, 8)
    results = []
    for model in (model_of(graph), moved_there(model_of(graph))):
        place = next(model.parameters()).device
        training = Training(steps=3, batch_size=4, accum=2)
        trainer = Trainer(
            model,
            plugin(f"noise_{noise}")(),
            ScoreEntropy(),
            data,
            Optimizer(lr=1e-2, warmup=1),
            training,
            0,
            World(device=place),
        )
        losses = [trainer.step(step).loss for step in range(3)]
        weights = [parameter.detach().to("cpu").flatten() for parameter in trainer.parameters]
        results.append(torch.cat([torch.tensor([*losses, trainer.ema.distance()]), *weights]))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)  # the optimizer's kernels round otherwise
    start = torch.cat([parameter.detach().flatten() for parameter in model_of(graph).parameters()])
    assert (results[0][4:] - start).abs().max() > 1e-2


@pytest.mark.usefixtures("device")
def test_draws_are_made_on_the_cpu() -> None:
    indices = torch.arange(5)
    there = Draws(3, There(indices)).uniform("a", 4)
    assert there.device.type == "cpu"
    assert torch.equal(there, Draws(3, indices).uniform("a", 4))


def test_only_the_network_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    model, noise = model_of("absorb"), plugin("noise_loglinear")()
    noise.register_buffer("levels", torch.ones(2, dtype=torch.float64))
    monkeypatch.setattr(numerics, "WITHOUT_FLOAT64", ("meta",))
    move_to("meta", model, noise)
    assert {p.device.type for p in model.backbone.parameters()} == {"meta"}
    assert {b.device.type for b in [*model.graph.buffers(), *noise.buffers()]} == {"cpu"}
    monkeypatch.setattr(numerics, "WITHOUT_FLOAT64", ())
    move_to("meta", model, noise)
    assert {b.device.type for b in [*model.graph.buffers(), *noise.buffers()]} == {"meta"}


def test_mps_has_no_float64() -> None:
    assert float64_device("mps") == float64_device("cpu") == torch.device("cpu")
    assert float64_device("cuda:1") == torch.device("cuda", 1)
