"""Dropout: which steps, processes and parts share a mask (none), and that a step done again has the same."""

from __future__ import annotations

import pytest
import torch
from head_score import ScoreHead
from objective_score_entropy import ScoreEntropy
from torch import Tensor, nn
from torch.nn import functional

from sedd_core import plugin
from sedd_core.data.sequences import PackedSequences
from sedd_core.distributed.world import World
from sedd_core.model.score import ScoreModel
from sedd_core.stages import Backbone, NoiseLevel
from sedd_core.training.settings import Optimizer, Training
from sedd_core.training.trainer import Trainer
from tests.support.planted import Plant, check_found


class Dropping(Backbone):
    """Drops half of its features, and keeps what was left."""

    def __init__(self, states: int) -> None:
        super().__init__()
        self.linear = nn.Linear(64, states)
        self.kept: list[tuple[float, ...]] = []

    @property
    def head(self) -> nn.Linear:
        return self.linear

    def forward(self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None) -> Tensor:
        features = functional.dropout(torch.ones(*x.shape, 64), 0.5, self.training)
        self.kept.append(tuple(features.flatten().tolist()))
        return features


class OneOfTwo(World):
    """A process of two, whose other one is silent."""

    def sum(self, values: Tensor) -> Tensor:
        return values

    def wrap(self, module: nn.Module) -> nn.Module:
        return module


def masks(rank: int, step: int) -> list[tuple[float, ...]]:
    """Those of the two parts of a step."""
    backbone = Dropping(5)
    model = ScoreModel(backbone, plugin("graph_absorb")(vocab_size=4), ScoreHead())
    data, training = PackedSequences(torch.arange(4).repeat(20), 8), Training(steps=1, batch_size=8, accum=2)
    Trainer(model, plugin("noise_loglinear")(), ScoreEntropy(), data, Optimizer(), training, 0, OneOfTwo(rank, 2)).step(
        step
    )
    return backbone.kept


def test_masks_differ_between_steps_processes_and_parts_and_come_again() -> None:
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    drawn = [masks(*place) for place in places]
    assert len({mask for both in drawn for mask in both}) == 8
    assert [masks(*place) for place in places] == drawn


PLANTS: dict[str, Plant] = {
    **{
        f"one dropout mask in every {what}": (
            "sedd_core.training.trainer:Trainer.step",
            '"dropout", step, self.world.rank, number',
            f'"dropout", {arguments}',
            lambda seed: test_masks_differ_between_steps_processes_and_parts_and_come_again(),
        )
        for what, arguments in {
            "step": "0, self.world.rank, number",
            "process": "step, 0, number",
            "part": "step, self.world.rank, 0",
        }.items()
    },
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_found(PLANTS[name], seed, monkeypatch)
