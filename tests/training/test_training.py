"""Training: what it draws, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from objective_score_entropy import ScoreEntropy
from safetensors.torch import save_file
from scipy.stats import kstest
from torch import nn

from sedd_core import UserError, plugin
from sedd_core.checkpoints.weights import load_state_into, state_dict_of
from sedd_core.data.sequences import DocumentSequences
from sedd_core.model.ema import EMA
from sedd_core.model.score import ScoreModel
from sedd_core.sampling.sample import sample
from sedd_core.stages import Batch, InterpolatingGraph, Noise, NoiseLevel
from sedd_core.tensors import read_weights
from sedd_core.training.batches import ShuffledIndices, draws_of
from sedd_core.training.settings import Optimizer, Training
from sedd_core.training.trainer import Trainer
from tests.support.planted import Plant, check_found
from tests.support.trainers import trainer


def test_every_epoch_sees_every_sequence_once_in_another_order() -> None:
    order = ShuffledIndices(10, seed=0)
    seen = torch.cat([order.indices(step, 4) for step in range(5)])  # 20 = two epochs, batch 2 spans both
    assert seen[:10].sort().values.tolist() == list(range(10))
    assert seen[10:].sort().values.tolist() == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert (
        ShuffledIndices(10, seed=0).indices(2, 4).tolist() == seen[8:12].tolist()
    )  # without having gone through the others
    assert ShuffledIndices(10, seed=1).indices(0, 10).tolist() != seen[:10].tolist()


@pytest.mark.parametrize("kind", ["stratified", "iid"])
def test_times_fill_the_interval(kind: str, seed: int) -> None:
    training = Training(steps=1, batch_size=4, times=kind, t_min=0.1)
    four, objective = torch.arange(4), ScoreEntropy()
    drawn = torch.stack([objective.times(draws_of(training, seed, four, step), 0.1) for step in range(2000)])
    assert drawn.min() > 0.1
    assert drawn.max() < 1.0
    assert abs(drawn.mean().item() - 0.55) < 4 * 0.26 / 8000**0.5
    parts = ((drawn - 0.1) / 0.9 * 4).floor()
    one_in_each = (parts == torch.arange(4)).all().item()
    assert one_in_each == (kind == "stratified")
    for index in range(4):  # at no fixed place of its part; each errs in 1e-5
        assert kstest(((drawn[:, index] - 0.1) / 0.9 * 4 % 1).numpy(), "uniform").pvalue > 1e-5


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


COMBINATIONS = [
    pytest.param(graph, noise, scale, marks=() if fast else pytest.mark.slow, id=f"{graph}-{noise}-{scale}")
    for graph in ("absorb", "uniform")
    for noise in ("loglinear", "geometric")
    for scale in (True, False)
    for fast in [(graph, noise, scale) in (("absorb", "loglinear", False), ("uniform", "geometric", True))]
]


@pytest.mark.parametrize(("graph", "noise", "scale"), COMBINATIONS)
def test_every_combination_learns(graph: str, noise: str, scale: bool) -> None:
    learner = trainer(graph, noise, scale=scale)
    losses = [learner.step(step).loss for step in range(120)]
    assert sum(losses[-20:]) < 0.7 * sum(losses[:20])


def test_padding_is_no_part_of_the_loss() -> None:
    """Three documents of 2, 5 and 1 tokens, to sequences of 4: the rest of the second is cut off."""
    learner = trainer("absorb", "loglinear", scale=True)
    learner.data = DocumentSequences(torch.tensor([0, 1, 2, 3, 0, 1, 2, 3]), torch.tensor([2, 7, 8]), length=4)
    learner.shuffled = ShuffledIndices(3, seed=0)
    learner.training = replace(learner.training, batch_size=3)
    learner.microbatches = [torch.arange(3)]
    result = learner.step(0)
    assert sum(result.tokens_by_time_bin) == 2 + 4 + 1
    assert result.loss == pytest.approx(sum(result.loss_by_time_bin) / 3)


def test_the_same_seed_gives_the_same_run() -> None:
    runs = [trainer("absorb", "loglinear", scale=True, seed=seed) for seed in (3, 3, 4)]
    first, same, other = ([run.step(step).loss for step in range(3)] for run in runs)
    assert first == same
    assert first != other


class Power(Noise):
    """A learned schedule: .999 t^p is the probability of being masked."""

    def __init__(self, p: float = 1.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p, dtype=torch.float64))

    def forward(self, t):
        t = t.double()
        masked = 0.999 * t**self.p
        return NoiseLevel(t, -torch.log1p(-masked), self.p * masked / t / (1 - masked))

    def time(self, sigma):
        return (-torch.expm1(-sigma) / 0.999) ** (1 / self.p)


def expected_loss(model: ScoreModel, noise: Noise, *, law_moves: bool) -> torch.Tensor:
    """E of the trainer's loss over t in (0, 1) and x ~ q(. | x0), by quadrature and over all states.

    law_moves: whether gradients see that the law of x depends on the schedule; backpropagation in training does not.
    """
    places, gauss = np.polynomial.legendre.leggauss(48)
    graph, x0 = model.graph, torch.tensor([0, 1])
    x = torch.cartesian_prod(*[torch.arange(graph.num_states)] * 2)
    total = torch.zeros((), dtype=torch.float64)
    for t, weight in zip((places + 1) / 2, gauss / 2, strict=True):
        level = noise(torch.full((len(x),), t, dtype=torch.float64))
        rows = graph.transition(x0, level.pick(0))
        law = rows[0, x[:, 0]] * rows[1, x[:, 1]]
        losses = ScoreEntropy().integrand(model, x, level, Batch(x0.expand_as(x)))
        total = total + weight * ((law if law_moves else law.detach()) * losses).sum()
    return total


def test_backpropagation_has_a_wrong_gradient_for_a_schedule() -> None:
    """Why parameters of the process are refused: the bound depends on a schedule's ends alone, and these are fixed.

    So the true derivative is 0 (by finite differences, and where the law of x is differentiated as well); what
    training would follow is as large as the loss itself.
    """
    model, noise = trainer("absorb", "loglinear", scale=True).model, Power()

    def slope(law_moves: bool) -> float:
        return torch.autograd.grad(expected_loss(model, noise, law_moves=law_moves), noise.p)[0].item()

    with torch.no_grad():
        loss, above, below = (expected_loss(model, Power(p), law_moves=True).item() for p in (1.0, 1.01, 0.99))
    assert loss > 2
    assert (above - below) / 0.02 == pytest.approx(0, abs=5e-3)
    assert slope(law_moves=True) == pytest.approx(0, abs=5e-3)
    assert slope(law_moves=False) == pytest.approx(loss, rel=0.1)


class LearnedPi(InterpolatingGraph):
    """A graph with a trainable parameter."""

    def __init__(self) -> None:
        super().__init__(torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64), vocab_size=2, mask=2)
        self.logit = nn.Parameter(torch.zeros(()))


def test_trainable_parameters_of_the_process_are_refused() -> None:
    learner = trainer("absorb", "loglinear", scale=True)
    model, settings = learner.model, (Optimizer(), Training(steps=1, batch_size=4))
    with pytest.raises(UserError, match=r"noise Power has trainable parameters \(p\).*no exact gradient"):
        Trainer(model, Power(), ScoreEntropy(), learner.data, *settings, seed=0)
    learned = ScoreModel(model.backbone, LearnedPi(), model.head)
    with pytest.raises(UserError, match=r"graph LearnedPi has trainable parameters \(logit\)"):
        Trainer(learned, learner.noise, ScoreEntropy(), learner.data, *settings, seed=0)


def test_constants_of_the_process_are_kept_and_never_trained(seed: int) -> None:
    """A parameter that requires no gradient, as one from another training, stays as it is; its samples are drawn."""
    learner = trainer("absorb", "loglinear", scale=True)
    fixed = Power(2.0).requires_grad_(False)
    settings = Optimizer(warmup=1), Training(steps=1, batch_size=4)
    Trainer(learner.model, fixed, ScoreEntropy(), learner.data, *settings, seed=0).step(0)
    assert fixed.p.item() == 2.0


def test_a_checkpoint_with_a_learned_schedule_loads_and_samples(tmp_path: Path, seed: int) -> None:
    model, noise = trainer("absorb", "loglinear", scale=True).model, Power(2.0)
    save_file(state_dict_of(model, noise), tmp_path / "model.safetensors")
    again, other = Power(1.0), trainer("absorb", "loglinear", scale=True, seed=1).model
    load_state_into(read_weights(tmp_path / "model.safetensors"), tmp_path, other, again)
    assert again.p.item() == 2.0
    arguments = {"count": 3, "length": 8, "steps": 4, "t_min": 1e-3, "seed": seed, "batch_size": 3, "grid": "equal"}
    drawn = [sample(m, n, plugin("sampler_analytic")(), **arguments) for m, n in ((model, noise), (other, again))]
    assert torch.equal(*drawn)
    assert (drawn[0] < 4).all()


PLANTS: dict[str, Plant] = {
    "times without jitter": (
        "sedd_core.maths.draws:Draws.strata",
        "(self.indices + uniform)",
        "(self.indices + 0.5 + 0 * uniform)",
        lambda seed: test_times_fill_the_interval("stratified", seed),
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_found(PLANTS[name], seed, monkeypatch)
