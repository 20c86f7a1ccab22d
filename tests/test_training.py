"""Training: what it draws, and that it learns."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from sedd_core import plugin
from sedd_core.draws import Draws
from sedd_core.ema import EMA
from sedd_core.runs.settings import Optimizer, Training
from sedd_core.score import ScoreHead, ScoreModel
from sedd_core.stages import PackedSequences
from sedd_core.stages.data import DocumentSequences
from sedd_core.training import Order, Trainer, times


def test_every_epoch_sees_every_sequence_once_in_another_order() -> None:
    order = Order(10, seed=0)
    seen = torch.cat([order.indices(step, 4) for step in range(5)])  # 20 = two epochs, batch 2 spans both
    assert seen[:10].sort().values.tolist() == list(range(10))
    assert seen[10:].sort().values.tolist() == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert Order(10, seed=0).indices(2, 4).tolist() == seen[8:12].tolist()  # without having gone through the others
    assert Order(10, seed=1).indices(0, 10).tolist() != seen[:10].tolist()


@pytest.mark.parametrize("kind", ["stratified", "iid"])
def test_times_fill_the_interval(kind: str, seed: int) -> None:
    training = Training(steps=1, batch_size=4, times=kind, t_min=0.1)
    draws = Draws(seed, torch.arange(4))
    drawn = torch.stack([times(draws.at(step), training) for step in range(2000)])
    assert drawn.min() > 0.1
    assert drawn.max() < 1.0
    assert abs(drawn.mean().item() - 0.55) < 4 * 0.26 / 8000**0.5
    parts = ((drawn - 0.1) / 0.9 * 4).floor()
    one_in_each = (parts == torch.arange(4)).all().item()
    assert one_in_each == (kind == "stratified")


def test_the_average_follows_the_published_rule() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    ema = EMA([parameter], decay=0.5)
    expected = 0.0
    for n in range(1, 30):
        parameter.data.fill_(float(n))
        ema.update()
        expected += (1 - min(0.5, (1 + n) / (10 + n))) * (n - expected)
    assert ema.average[0].item() == pytest.approx(expected, rel=1e-5)
    with ema.in_place():
        assert parameter.item() == pytest.approx(expected, rel=1e-5)
    assert parameter.item() == 29.0


def trainer(graph: str, noise: str, *, scale: bool, seed: int = 0) -> Trainer:
    torch.manual_seed(seed)
    process = plugin(f"graph_{graph}")(vocab_size=4)
    backbone = plugin("model_ddit")(
        num_states=process.num_states, hidden_size=32, n_blocks=1, n_heads=2, cond_dim=16, dropout=0.0
    )
    model = ScoreModel(backbone, process, ScoreHead(scale_by_sigma=scale))
    tokens = torch.arange(4).repeat(200)  # 0 1 2 3 0 1 2 3: nothing to guess once one token is seen
    settings = Optimizer(lr=3e-3, warmup=10), Training(steps=1, batch_size=16)
    return Trainer(model, plugin(f"noise_{noise}")(), PackedSequences(tokens, 8), *settings, seed=seed)


@pytest.mark.parametrize("scale", [True, False], ids=["scaled", "plain"])
@pytest.mark.parametrize("noise", ["loglinear", "geometric"])
@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_every_combination_learns(graph: str, noise: str, scale: bool) -> None:
    learner = trainer(graph, noise, scale=scale)
    losses = [learner.step(step).loss for step in range(120)]
    assert sum(losses[-20:]) < 0.7 * sum(losses[:20])


def test_padding_is_no_part_of_the_loss() -> None:
    """Three documents of 2, 5 and 1 tokens, to sequences of 4: the rest of the second is cut off."""
    learner = trainer("absorb", "loglinear", scale=True)
    learner.data = DocumentSequences(torch.tensor([0, 1, 2, 3, 0, 1, 2, 3]), torch.tensor([2, 7, 8]), length=4)
    learner.order = Order(3, seed=0)
    learner.training.batch_size = 3
    learner.parts = [torch.arange(3)]
    result = learner.step(0)
    assert sum(result.tokens) == 2 + 4 + 1
    assert result.loss == pytest.approx(sum(result.by_time) / 3)


def test_the_same_seed_gives_the_same_run() -> None:
    runs = [trainer("absorb", "loglinear", scale=True, seed=seed) for seed in (3, 3, 4)]
    first, same, other = ([run.step(step).loss for step in range(3)] for run in runs)
    assert first == same
    assert first != other


def test_learned_noise_is_trained(tmp_path: Path) -> None:
    class Learned(plugin("noise_loglinear")):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()))

        def forward(self, t):
            level = super().forward(t)
            return level._replace(sigma=level.sigma * self.shift.exp(), rate=level.rate * self.shift.exp())

    learner = trainer("absorb", "loglinear", scale=True)
    rebuilt = partial(Trainer, learner.objective.model)
    noise = Learned()
    rebuilt(noise, learner.data, Optimizer(warmup=1), Training(steps=1, batch_size=4), seed=0).step(0)
    assert noise.shift.item() != 0
