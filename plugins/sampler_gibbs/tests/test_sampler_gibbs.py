"""The Gibbs corrector and its exact distributions."""

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.maths import Draws
from sedd_core.stages import NoiseLevel, Sampler
from sedd_core.stages.sampler import denoising_distribution
from sedd_core.testing import Oracle, check_sampler, random_joint, total_variation

NOISES = {"absorb": "loglinear", "uniform": "geometric", "hybrid": "geometric"}


def problem(graph: str, joint: int = 0) -> Oracle:
    process = plugin(f"graph_{graph}")(vocab_size=3)
    return Oracle(process, plugin(f"noise_{NOISES[graph]}")(), random_joint(3, 3, seed=joint))


def level_of(sigma: float, *shape: int) -> NoiseLevel:
    return NoiseLevel.of_sigma(torch.full(shape, sigma, dtype=torch.float64))


def site_laws(sampler: Sampler, exact: Oracle, level: NoiseLevel, together: bool = False) -> Tensor:
    """The distribution [N, L, S] of each position if it is drawn anew, alone or together with all others."""
    x, graph = exact.states, exact.graph
    laws = torch.zeros(*x.shape, graph.num_states, dtype=torch.float64)
    for i in range(x.shape[1]):
        sites = torch.zeros_like(x, dtype=torch.bool)
        sites[:, i] = True
        asked = torch.ones_like(sites) if together else sites
        weights = sampler.conditional_weights(x, asked, level, exact.score_fn(), graph)
        laws[sites] = weights[sites[asked]]
    return laws / laws.sum(-1, keepdim=True)


def site_kernels(exact: Oracle, laws: Tensor) -> list[Tensor]:
    """Transition probabilities [N, N] of drawing each position anew."""
    length = exact.length
    stay = torch.nn.functional.one_hot(exact.states, exact.graph.num_states).double()
    steps = [torch.where((torch.arange(length) == i)[:, None], laws, stay) for i in range(length)]
    return [torch.einsum("xa,xb,xc->xabc", *step.unbind(1)).flatten(1) for step in steps]


@pytest.mark.parametrize("graph", ["absorb", pytest.param("uniform", marks=pytest.mark.slow)])
def test_conformance(graph: str) -> None:
    check_sampler(plugin("sampler_gibbs")(), plugin(f"graph_{graph}")(vocab_size=4), plugin(f"noise_{NOISES[graph]}")())


@pytest.mark.parametrize("sigma", [0.05, 0.7, 3.0])
@pytest.mark.parametrize("graph", NOISES)
def test_one_random_site_keeps_the_distribution_other_choices_do_not(graph: str, sigma: float) -> None:
    exact, sampler = problem(graph), plugin("sampler_gibbs")()
    marginal = exact.marginal(sigma)
    laws = site_laws(sampler, exact, level_of(sigma, len(exact.states)))
    moved = torch.stack([marginal @ kernel for kernel in site_kernels(exact, laws)])
    assert total_variation(moved.mean(0), marginal) < 1e-12
    largest, second = laws.topk(2, -1).values.unbind(-1)
    choice = torch.nn.functional.one_hot((largest - second).argmin(-1), 3).double()  # the lowest margin of a sequence
    kernel = sum(choice[:, i, None] * part for i, part in enumerate(site_kernels(exact, laws)))
    assert total_variation(marginal @ kernel, marginal) > 1e-3
    together = site_laws(sampler, exact, level_of(sigma, len(exact.states)), together=True)
    assert total_variation(exact.propagate(marginal, together), marginal) > 5e-4


def sampled(sampler: Sampler, exact: Oracle, steps: int) -> Tensor:
    """The exact distribution of samples after N steps, each with its corrections."""
    count, graph = len(exact.states), exact.graph
    probs = exact.marginal(1e3)
    times = torch.linspace(1, 1e-5, steps + 1, dtype=torch.float64)
    levels = [exact.noise(t.expand(count)) for t in times]
    for index in range(steps):
        law = sampler.predictor.step_distribution(
            exact.states, levels[index], levels[index + 1], exact.score_fn(), graph
        )
        probs = exact.propagate(probs, law)
        kernels = site_kernels(exact, site_laws(sampler, exact, levels[index + 1]))
        for _ in range(sampler.corrections):
            probs = torch.stack([probs @ kernel for kernel in kernels]).mean(0)
    positions, denoised = denoising_distribution(exact.states, levels[-1], exact.score_fn(), graph)
    final = torch.nn.functional.one_hot(exact.states, graph.num_states).double()
    final[positions] = denoised
    return exact.propagate(probs, final)[exact.index_of(exact.clean)]


@pytest.mark.parametrize("joint", [0, 1])
@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_corrections_bring_samples_closer_to_the_data(graph: str, joint: int) -> None:
    exact = problem(graph, joint)
    plain = total_variation(exact.sampled(plugin("sampler_analytic")(), 16), exact.p0)
    one, six = (total_variation(sampled(plugin("sampler_gibbs")(corrections=n), exact, 16), exact.p0) for n in (1, 6))
    assert one < 0.05 * plain
    assert six < 0.005 * plain


def test_a_correction_draws_random_sites_from_their_distributions() -> None:
    exact, sampler, count = problem("uniform"), plugin("sampler_gibbs")(), 30_000
    x, level = torch.tensor([[0, 1, 2]]).expand(count, -1), level_of(0.7, count)
    laws = site_laws(sampler, exact, level_of(0.7, len(exact.states)))[exact.index_of(x[0])]
    out = sampler.correct(x, level, exact.score_fn(), exact.graph, Draws(0, torch.arange(count)))
    assert ((out != x).sum(-1) <= 1).all()
    share = torch.nn.functional.one_hot(out, 3).double().mean(0)
    expected = laws / 3 + torch.eye(3).double() * 2 / 3
    assert (share - expected).abs().max() < 5 * 0.5 / count**0.5


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_corrections_are_of_random_sites_that_the_network_does_not_see_after_the_step(graph: str) -> None:
    """Exact scores at a token are those at the mask; a network has learned the latter alone."""
    exact, sampler, count = problem(graph), plugin("sampler_gibbs")(corrections=2), 3000
    seen: list[tuple[float, Tensor, Tensor]] = []

    def score(x: Tensor, level: NoiseLevel, positions: Tensor) -> Tensor:
        seen.append((level.sigma[0].item(), x, positions))
        return exact.score_fn()(x, level, positions)

    x, draws = torch.tensor([[0, 1, 2]]).expand(count, -1).clone(), Draws(0, torch.arange(count))
    x[:, 0] = exact.graph.num_states - 1
    sampler.step(x, level_of(0.7, count), level_of(0.5, count), score, exact.graph, draws)
    assert [sigma for sigma, _, _ in seen] == [0.7, 0.5, 0.5]
    for _, states, sites in seen[1:]:
        assert ((sites.double().mean(0) - 1 / 3).abs() < 5 * (2 / 9 / count) ** 0.5).all()
        assert graph == "uniform" or (states[sites] == exact.graph.mask).all()
    assert (seen[1][2] & seen[2][2]).any(-1).double().mean() < 0.4


def test_calls_and_refusals() -> None:
    exact, sampler = problem("absorb"), plugin("sampler_gibbs")(corrections=2, sites=5)
    draws = Draws(0, torch.arange(4))
    levels = exact.noise(torch.linspace(1, 1e-5, 9, dtype=torch.float64))
    sampler.run(exact.graph.prior(draws, 3), levels, exact.score_fn(), exact.graph, draws)
    assert sampler.stats.calls in (8 * 3, 8 * 3 + 1)  # the last denoising only if a mask is left
    with pytest.raises(ValueError, match="at least 1, not 1 and 0"):
        plugin("sampler_gibbs")(sites=0)
