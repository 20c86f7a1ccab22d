"""Classifier guidance: Bayes' rule with an exact classifier, and its first-order form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.model.score import ScoreModel
from sedd_core.sampling.guidance import ClassifierGuidance
from sedd_core.sampling.sample import sample
from sedd_core.stages import NoiseLevel
from sedd_core.testing import Oracle, random_joint
from tests.support.networks import Table


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("graph", ["absorb", "uniform", "hybrid"])
def test_an_exact_classifier_gives_the_conditional_scores(graph: str, float64: None) -> None:
    process, noise = plugin(f"graph_{graph}")(vocab_size=3), plugin("noise_loglinear")()
    parts = [random_joint(3, 2, seed=seed) for seed in (0, 1)]
    both = Oracle(process, noise, (parts[0] + parts[1]) / 2)
    given = Oracle(process, noise, parts[0])

    def log_prob(rows: Tensor, level: NoiseLevel) -> Tensor:
        sigma, index = level.sigma[0].item(), both.index_of(rows.argmax(-1))
        return (given.marginal(sigma)[index] / 2 / both.marginal(sigma)[index]).log()

    x = both.states[both.marginal(0.7) > 0]
    level = NoiseLevel.of_sigma(torch.full((len(x),), 0.7))
    score = ClassifierGuidance(both.score_fn(), log_prob, first_order=False)(x, level)
    expected = given.score_fn()(x, level)
    possible = expected.isfinite()
    torch.testing.assert_close(score[possible], expected[possible], rtol=0, atol=1e-12)


def test_the_first_order_is_exact_for_a_linear_classifier_alone(float64: None) -> None:
    process, noise = plugin("graph_uniform")(vocab_size=3), plugin("noise_loglinear")()
    exact = Oracle(process, noise, random_joint(3, 2, seed=0))
    table = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    x, level = exact.states, NoiseLevel.of_sigma(torch.full((9,), 0.7))

    def difference(classifier) -> float:
        forms = [ClassifierGuidance(exact.score_fn(), classifier, 1.5, first)(x, level) for first in (True, False)]
        return (forms[0] - forms[1]).abs().max().item()

    assert difference(lambda rows, level: (rows * table).sum((1, 2))) < 1e-12
    assert difference(lambda rows, level: torch.tanh((rows * table).sum((1, 2)))) > 1e-2


def test_samples_follow_the_classifier() -> None:
    """Within torch.no_grad; a classifier of how many tokens are 0, among five that are equally likely."""
    process = plugin("graph_absorb")(vocab_size=5)
    model = ScoreModel(Table(torch.zeros(6)), process, plugin("head_mean")()).eval()

    def share(gamma: float) -> float:
        def guide(score_fn):
            return ClassifierGuidance(score_fn, lambda rows, level: 3 * rows[..., 0].sum(-1), gamma)

        tokens = sample(
            model, plugin("noise_loglinear")(), plugin("sampler_analytic")(), count=32, length=8, steps=32,
            t_min=1e-5, seed=0, batch_size=16, guide=guide,
        )  # fmt: skip
        return (tokens == 0).double().mean().item()

    assert share(2.0) > share(0.0) + 0.5
