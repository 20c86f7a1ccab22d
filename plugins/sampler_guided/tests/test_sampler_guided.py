"""Classifier-free guidance on exact conditional and unconditional scores."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.maths import Draws
from sedd_core.stages import NoiseLevel, ScoreFunction
from sedd_core.testing import Oracle, check_sampler, random_joint, total_variation

NOISES = {"absorb": "loglinear", "uniform": "geometric", "hybrid": "geometric"}


@dataclass
class Both:
    """Exact scores with and without a condition."""

    given: ScoreFunction
    without: ScoreFunction

    def __call__(self, x: Tensor, level: NoiseLevel, positions: Tensor | None = None) -> Tensor:
        return self.given(x, level, positions)

    def unconditional(self) -> ScoreFunction:
        return self.without


def pair(graph: str, length: int) -> tuple[Oracle, Oracle]:
    process, noise = plugin(f"graph_{graph}")(vocab_size=3), plugin(f"noise_{NOISES[graph]}")()
    first, second = (Oracle(process, noise, random_joint(3, length, seed=seed)) for seed in (0, 1))
    return first, second


def levels(count: int) -> tuple[NoiseLevel, NoiseLevel]:
    now, then = (NoiseLevel.of_sigma(torch.full((count,), sigma, dtype=torch.float64)) for sigma in (1.2, 0.4))
    return now, then


@pytest.mark.parametrize("graph", ["absorb", pytest.param("uniform", marks=pytest.mark.slow)])
def test_conformance(graph: str) -> None:
    noise = plugin(f"noise_{NOISES[graph]}")()
    check_sampler(plugin("sampler_guided")(gamma=1.0), plugin(f"graph_{graph}")(vocab_size=4), noise)


@pytest.mark.parametrize("form", ["posterior", "rate"])
@pytest.mark.parametrize("graph", NOISES)
def test_gamma_1_is_the_conditional_and_0_the_unconditional_model(graph: str, form: str) -> None:
    given, without = pair(graph, 3)
    scores = Both(given.score_fn(), without.score_fn())
    for gamma, exact in ((1.0, given), (0.0, without)):
        sampler = plugin("sampler_guided")(gamma=gamma, form=form)
        law = sampler.step_distribution(given.states, *levels(len(given.states)), scores, given.graph)
        plain = plugin("sampler_analytic")().step_distribution(
            exact.states, *levels(len(exact.states)), exact.score_fn(), exact.graph
        )
        torch.testing.assert_close(law, plain, rtol=0, atol=1e-12)
        assert sampler.stats.calls == 1


@pytest.mark.parametrize("graph", NOISES)
def test_one_position_follows_the_powers_of_the_posteriors_of_bayes(graph: str) -> None:
    """p(x_s | x_t) of both models, from kernels alone."""
    given, without = pair(graph, 1)
    (now, then), process = levels(len(given.states)), given.graph
    states = torch.arange(process.num_states)
    kernel = process.transition(states, now.pick(0), then.pick(0))  # [s, t]
    laws = [exact.marginal(0.4)[:, None] * kernel for exact in (given, without)]
    posterior = [law / law.sum(0) for law in laws]
    expected = posterior[0] ** 2.5 * posterior[1] ** -1.5
    expected = torch.where(posterior[0] > 0, expected, 0.0)
    expected = (expected / expected.sum(0)).T
    sampler, scores = plugin("sampler_guided")(gamma=2.5), Both(given.score_fn(), without.score_fn())
    law = sampler.step_distribution(given.states, now, then, scores, process)[:, 0]
    moves = process.reachable(states, now.pick(0))
    torch.testing.assert_close(law[moves], expected[moves], rtol=1e-9, atol=1e-12)
    assert sampler.stats.calls == 2


@pytest.mark.parametrize("graph", NOISES)
def test_the_rate_form_is_the_step_of_guided_scores(graph: str) -> None:
    given, without = pair(graph, 2)
    count = len(given.states)

    def guided(x: Tensor, level: NoiseLevel, positions: Tensor) -> Tensor:
        powers = 2.5, -1.5
        scores = [exact.score_fn()(x, level, positions) for exact in (given, without)]
        rates = scores[0].exp() ** powers[0] * scores[1].exp() ** powers[1]
        return torch.where(scores[0].isneginf(), 0.0, rates).log()

    law = plugin("sampler_guided")(gamma=2.5, form="rate").step_distribution(
        given.states, *levels(count), Both(given.score_fn(), without.score_fn()), given.graph
    )
    expected = plugin("sampler_analytic")().step_distribution(given.states, *levels(count), guided, given.graph)
    torch.testing.assert_close(law, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("graph", ["absorb", pytest.param("uniform", marks=pytest.mark.slow)])
def test_draws_follow_the_distribution_and_runs_end_in_tokens(graph: str) -> None:
    given, without = pair(graph, 2)
    scores, sampler, count = Both(given.score_fn(), without.score_fn()), plugin("sampler_guided")(), 20_000
    x, draws = torch.full((count, 2), given.graph.num_states - 1), Draws(0, torch.arange(count))
    out = sampler.step(x, *levels(count), scores, given.graph, draws)
    law = sampler.step_distribution(x[:1], *levels(1), scores, given.graph)[0]
    counts = torch.bincount(given.index_of(out), minlength=len(given.states)).double() / count
    assert total_variation(counts, (law[0, :, None] * law[1]).flatten()) < 0.02
    times = given.noise(torch.linspace(1, 1e-5, 9, dtype=torch.float64))
    assert (sampler.run(x, times, scores, given.graph, draws) < 3).all()


def test_what_does_not_suit_is_refused() -> None:
    given, _ = pair("absorb", 2)
    with pytest.raises(UserError, match="with and without a condition"):
        plugin("sampler_guided")().step_distribution(
            given.states, *levels(len(given.states)), given.score_fn(), given.graph
        )
    with pytest.raises(ValueError, match="gamma must be at least 0"):
        plugin("sampler_guided")(gamma=-1.0)
