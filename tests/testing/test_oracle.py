"""Samplers, the bound and random draws against exact distributions over short sequences."""

from __future__ import annotations

import pytest
import torch

from sedd_core import plugin
from sedd_core.maths.draws import Draws
from sedd_core.sampling.grid import time_grid
from sedd_core.stages import FactorizedSampler, FixedTokens, Noise, StepWeights
from sedd_core.testing import Oracle, check_noise, check_sampler, random_joint, total_variation
from tests.support.graphs import GRAPHS, chi_square
from tests.support.oracles import PAIRS, SAMPLERS, oracle


@pytest.mark.parametrize("joint", [0, 1, 2])
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("graph", PAIRS)
def test_total_variation_falls_at_first_order(graph: str, name: str, joint: int) -> None:
    exact, sampler = oracle(graph, joint), plugin(f"sampler_{name}")()
    distance = [total_variation(exact.sampled(sampler, steps), exact.p0) for steps in (16, 64, 128)]
    assert distance[0] > distance[1] > distance[2]
    assert abs(torch.tensor(distance[1] / distance[2]).log2().item() - 1) < 0.1
    assert distance[2] < 0.01


def test_first_order_on_longer_sequences() -> None:
    exact, sampler = oracle("absorb", 0, vocab=5, length=4), plugin("sampler_analytic")()
    distance = [total_variation(exact.sampled(sampler, steps), exact.p0) for steps in (64, 128)]
    assert abs(torch.tensor(distance[0] / distance[1]).log2().item() - 1) < 0.1


class Faulty(plugin("sampler_analytic")):
    """A sampler whose probability of state 0 is 5% too high."""

    def step_weights(self, x, score, step, graph) -> StepWeights:
        values, total = super().step_weights(x, score, step, graph)
        values[:, 0] *= 1.05
        return StepWeights(values, total)


@pytest.mark.parametrize("graph", PAIRS)
def test_a_sampler_with_a_wrong_factor_is_found(graph: str) -> None:
    exact = oracle(graph, 0)
    with pytest.raises(AssertionError, match="order"):
        check_sampler(Faulty(), exact.graph, exact.noise)


def test_a_noise_with_a_wrong_rate_is_found() -> None:
    class Wrong(plugin("noise_loglinear")):
        def forward(self, t):
            level = super().forward(t)
            return level._replace(rate=level.rate * 1.001)

    with pytest.raises(AssertionError, match="derivative"):
        check_noise(Wrong())
    exact = oracle("uniform", 0)
    assert isinstance(exact.noise, Noise)


def test_euler_and_analytic_are_one_kernel_on_absorb_with_loglinear() -> None:
    """dt dsigma / expm1(sigma) = (alpha_s - alpha_t) / (1 - alpha_t) where 1 - alpha is linear in t."""
    exact = oracle("absorb", 3)
    count = len(exact.states)
    for t, t_next in [(1.0, 0.9), (0.5, 0.25), (0.01, 1e-5)]:
        levels = [exact.noise(torch.full((count,), value, dtype=torch.float64)) for value in (t, t_next)]
        probs = [
            plugin(f"sampler_{name}")().step_distribution(exact.states, *levels, exact.score_fn(), exact.graph)
            for name in SAMPLERS
        ]
        possible = exact.marginal(levels[0].sigma[0].item()) > 0
        torch.testing.assert_close(probs[0][possible], probs[1][possible], rtol=0, atol=1e-12)


@pytest.mark.parametrize("joint", [0, 1])
def test_the_bound_with_exact_scores_is_the_likelihood_absorb(joint: int) -> None:
    exact = oracle("absorb", joint, vocab=5, length=4)
    terms = exact.bound((0.0, 0.0), nodes=4, masking=True)  # degree 3: four nodes are exact
    assert (sum(terms) + exact.p0.log()).abs().max() < 1e-9
    with pytest.raises(AssertionError):
        assert (sum(terms) * 1.00001 + exact.p0.log()).abs().max() < 1e-9


@pytest.mark.parametrize("joint", [0, 1])
def test_the_bound_with_exact_scores_is_the_likelihood_uniform(joint: int) -> None:
    exact = oracle("uniform", joint)
    terms = exact.bound((1e-3, 20.0), nodes=60)
    assert (sum(terms) + exact.p0.log()).abs().max() < 1e-5
    assert (terms.diffusion + exact.p0.log()).abs().max() > 1e-2, "the diffusion term alone is not the bound"

    factorized = sum(exact.bound((1e-6, 20.0), nodes=60, factorized=True))  # as estimated for a network
    assert (factorized + exact.p0.log()).abs().max() < 1e-5
    assert (exact.p0 * (factorized + exact.p0.log())).sum() > 0


def test_the_bound_of_a_mixture_and_of_general_rates() -> None:
    """A mixture with a mask, and a ring, which has no closed form."""
    noise = plugin("noise_geometric")()
    for name in ("random pi and a mask", "ring"):
        exact = Oracle(GRAPHS[name](), noise, random_joint(5, 2, 0))
        assert (sum(exact.bound((1e-3, 20.0), nodes=60)) + exact.p0.log()).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("graph", "name", "nats"),
    [
        ("absorb", "analytic", (0.0051, 0.00063, 0.000078)),
        ("absorb", "euler", (0.0051, 0.00063, 0.000078)),
        ("uniform", "analytic", (0.0115, 0.00087, 0.000056)),
        ("uniform", "euler", (0.0069, 0.00023, 0.000011)),
    ],
)
def test_few_steps_sample_another_distribution_than_the_bound_measures(graph: str, name: str, nats: tuple) -> None:
    """KL(p0 || p_N) of N steps in nats per token, as in docs/mathematics.md; with exact scores the bound is -log p0."""
    exact, sampler = oracle(graph, 0), plugin(f"sampler_{name}")()
    for steps, expected in zip((8, 32, 128), nats, strict=True):
        divergence = (exact.p0 * (exact.p0 / exact.sampled(sampler, steps)).log()).sum().item() / 3
        assert divergence == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("graph", PAIRS)
def test_a_step_draws_from_its_distribution(graph: str, name: str, seed: int) -> None:
    """Each position of 20,000 copies of one sequence: chi-square test at level 1e-5."""
    exact, sampler, copies = oracle(graph, 0), plugin(f"sampler_{name}")(), 20_000
    start = torch.tensor([[4, 1, 4]]) if graph == "absorb" else torch.tensor([[0, 1, 3]])
    x = start.expand(copies, -1)
    level, level_next = (exact.noise(torch.full((copies,), value, dtype=torch.float64)) for value in (0.7, 0.4))
    one = slice(0, 1)
    probs = sampler.step_distribution(start, level.pick(one), level_next.pick(one), exact.score_fn(), exact.graph)[0]

    def score_fn(x, level, positions=None):
        return exact.score_fn()(start, level.pick(one), None).expand(copies, -1, -1)[positions]

    drawn = sampler.step(x, level, level_next, score_fn, exact.graph, Draws(seed, torch.arange(copies)))
    for i in range(3):
        assert chi_square(drawn[:, i], probs[i]) > 1e-5
    wrong = probs[0] * torch.linspace(0.8, 1.2, probs.shape[-1])
    assert chi_square(drawn[:, 0], wrong / wrong.sum()) < 1e-5
    both = torch.outer(probs[0], probs[2]).flatten()  # positions are independent given the sequence
    assert chi_square(drawn[:, 0] * probs.shape[-1] + drawn[:, 2], both) > 1e-5


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("graph", PAIRS)
def test_a_whole_run_draws_from_its_distribution(graph: str, name: str, seed: int) -> None:
    """20,000 runs of three steps and a final denoising from t = 0.3: chi-square test at level 1e-5."""
    exact, sampler = oracle(graph, 0, noise="loglinear"), plugin(f"sampler_{name}")()
    levels, strides = exact.noise(time_grid(3, 0.3)), exact.graph.vocab_size ** torch.arange(2, -1, -1)
    probs = exact.sampled(sampler, 3, t_min=0.3)
    draws = Draws(seed, torch.arange(20_000))

    def run(draws: Draws) -> torch.Tensor:
        x = exact.graph.prior(draws, 3)
        return (sampler.run(x, levels, exact.score_fn(), exact.graph, draws) * strides).sum(-1)

    assert chi_square(run(draws), probs) > 1e-5
    assert chi_square(run(SameAtEveryStep(seed, draws.indices)), probs) < 1e-5
    assert chi_square(run(Lopsided(seed, draws.indices)), probs) < 1e-5


class SameAtEveryStep(Draws):
    """A planted fault: all steps use the same random numbers."""

    def at(self, step: int) -> Draws:
        return self


class Lopsided(Draws):
    """A planted fault: the numbers of the final denoising are not exactly uniform."""

    def uniform(self, stream: str, *shape: int) -> torch.Tensor:
        return super().uniform(stream, *shape) ** (1.2 if stream == "denoise" else 1.0)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("graph", PAIRS)
def test_fixed_tokens_are_in_every_network_input_and_in_the_result(graph: str, name: str, seed: int) -> None:
    """From the first network call to the result, for any scores."""
    exact, sampler = oracle(graph, 0), plugin(f"sampler_{name}")()
    draws, levels = Draws(seed, torch.arange(64)), exact.noise(time_grid(2, 0.3))
    fixed_tokens = FixedTokens(torch.full((64, 3), 2), torch.tensor([[True, False, True]]).expand(64, -1))
    seen: list[torch.Tensor] = []

    def constant_score(x, level, positions=None):
        seen.append(x)
        return torch.zeros(*x.shape, exact.graph.num_states, dtype=torch.float64)[positions]

    out = sampler.run(exact.graph.prior(draws, 3), levels, constant_score, exact.graph, draws, fixed_tokens)
    assert 1 <= len(seen) <= 3  # no call where nothing can move
    for state in [*seen, out]:
        assert (state[:, [0, 2]] == 2).all()
    assert len(out[:, 1].unique()) > 1


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("graph", PAIRS)
def test_fixed_tokens_are_kept_and_samples_do_not_depend_on_the_batch(graph: str, name: str, seed: int) -> None:
    exact, sampler = oracle(graph, 0), plugin(f"sampler_{name}")()
    draws, levels = Draws(seed, torch.arange(8)), exact.noise(time_grid(6, 1e-5))
    fixed_tokens = FixedTokens(
        torch.tensor([[2, 0, 3]]).expand(8, -1), torch.tensor([[True, False, True]]).expand(8, -1)
    )
    seen: list[torch.Tensor] = []
    x = exact.graph.prior(draws, 3)
    stages = exact.score_fn(), exact.graph
    out = sampler.run(x, levels, *stages, draws, fixed_tokens, on_step=seen.append)
    for state in [*seen, out]:
        assert (state[:, [0, 2]] == torch.tensor([2, 3])).all()
    assert (out < exact.graph.vocab_size).all()

    free = sampler.run(x, levels, *stages, draws)
    part = Draws(seed, torch.arange(5, 8))
    assert torch.equal(sampler.run(exact.graph.prior(part, 3), levels, *stages, part), free[5:])


def test_clipped_probability_is_counted() -> None:
    exact, sampler = oracle("uniform", 0), plugin("sampler_euler")()
    assert isinstance(sampler, FactorizedSampler)
    draws = Draws(0, torch.arange(16))
    levels = exact.noise(time_grid(2, 1e-5))
    sampler.run(exact.graph.prior(draws, 3), levels, exact.score_fn(), exact.graph, draws)
    assert sampler.stats.clipped_per_position > 0.1  # two Euler steps from sigma = 20 are far too long
    assert sampler.stats.calls == 3
