"""How often an update waits for the device: for the number of rows that count, and for its figures."""

from __future__ import annotations

import pytest
import torch
from head_score import ScoreHead
from objective_score_entropy import ScoreEntropy

from sedd_core import plugin
from sedd_core.data.sequences import PackedSequences
from sedd_core.distributed.world import World
from sedd_core.maths.draws import Draws
from sedd_core.model.score import ScoreModel
from sedd_core.training.settings import Optimizer, Training
from sedd_core.training.trainer import Trainer
from tests.support.pretended_device import Device, There, moved_there, without_autocast


def trainer(graph: str, accum: int = 1) -> Trainer:
    process = plugin(f"graph_{graph}")(vocab_size=11)
    sizes = {"hidden_size": 16, "n_blocks": 1, "n_heads": 2, "cond_dim": 8, "dropout": 0.1}
    model = ScoreModel(plugin("model_ddit")(num_states=process.num_states, **sizes), process, ScoreHead())
    noise = plugin("noise_loglinear")()
    moved_there(model, process, noise)
    settings = Optimizer(warmup=1), Training(steps=3, batch_size=4, accum=accum)
    data = PackedSequences(torch.arange(400) % 11, 8)
    return Trainer(model, noise, ScoreEntropy(), data, *settings, 0, World(device=torch.device("meta")))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    without_autocast(monkeypatch)
    monkeypatch.setattr("sedd_core.stages.data.Tensor.is_pinned", lambda tensor: True)  # a GPU's batches are
    return Device()


@pytest.mark.parametrize("graph", ["absorb", "uniform", "gidd"])
@pytest.mark.parametrize("accum", [1, 2])
def test_an_update_waits_twice(graph: str, accum: int, device: Device) -> None:
    with device:
        found = trainer(graph, accum)
        found.step(0)
        device.waits.clear()
        found.step(1)
    operations = [wait.partition(" ")[0] for wait in device.waits]
    assert operations == [*["aten.nonzero.default"] * accum, "aten._to_copy.default"], device.waits


def test_waits_are_found(device: Device) -> None:
    """In the operators too, which are opaque to torch's modes: unequal weights of losses need a look at them."""
    with device:
        there = torch.ones(3).to("meta", non_blocking=True)
        assert not device.waits
        assert there.sum().item() == 3
        there[There(torch.tensor([True, False, True]))]
        torch.arange(3).to("meta")
        there.tolist()
        assert len(device.waits) == 4
        device.waits.clear()
        found = trainer("uniform")
        batch, draws = found.batch(0, torch.arange(2)).to(found.device), Draws(0, There(torch.arange(2)))
        _, losses = found.forward(batch, draws, 1e-3)
        device.waits.clear()
        (losses * There(torch.tensor([1.0, 2.0]))).sum().backward()
        assert [wait.partition(" ")[0] for wait in device.waits] == ["aten.is_nonzero.default"]
