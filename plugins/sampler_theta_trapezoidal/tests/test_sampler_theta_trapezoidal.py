"""The theta-trapezoidal sampler and its exact distributions."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.maths import Draws
from sedd_core.stages import NoiseLevel, Sampler, Step
from sedd_core.stages.sampler import denoising_distribution
from sedd_core.testing import Oracle, check_sampler, random_joint, total_variation

NOISES = {"absorb": "loglinear", "uniform": "geometric", "hybrid": "geometric"}


def problem(graph: str, joint: int = 0, concentration: float = 1.0, vocab: int = 3) -> Oracle:
    process = plugin(f"graph_{graph}")(vocab_size=vocab)
    table = random_joint(vocab, 3, seed=joint, concentration=concentration)
    return Oracle(process, plugin(f"noise_{NOISES[graph]}")(), table)


def rates(sampler: Sampler, exact: Oracle, level: NoiseLevel) -> Tensor:
    """Rates [N, L, S] at all states, 0 where nothing can move."""
    positions = exact.graph.reachable(exact.states, level)
    out = torch.zeros(*exact.states.shape, exact.graph.num_states, dtype=torch.float64)
    out[positions] = sampler.rate(exact.states, level, positions, exact.score_fn(), exact.graph)
    return out


def leap_distribution(x: Tensor, rate: Tensor, time: Tensor) -> Tensor:
    """The distribution after at most one jump from x, whose probability is 1 - exp(-time sum_y mu_y)."""
    total = rate.sum(-1)
    jump = -torch.expm1(-total * time) / total.where(total > 0, 1.0)
    return (rate * jump[..., None]).scatter(-1, x[..., None], torch.exp(-total * time)[..., None])


def kernel_of(sampler: Sampler, exact: Oracle, level: NoiseLevel, level_next: NoiseLevel) -> Tensor:
    """Transition probabilities [N, N] of a step: the sum over all states between its two leaps."""
    x = exact.states
    middle, elapsed = sampler.middle(Step(level, level_next), exact.graph)
    elapsed = elapsed[:, None].expand(x.shape)
    rate = rates(sampler, exact, level)
    first = leap_distribution(x, rate, sampler.theta * elapsed)
    first = torch.einsum("xa,xb,xc->xabc", *first.unbind(1)).flatten(1)
    unmoved = (x[:, None] == x)[..., None]  # [start, between, L, 1]
    before = rate[:, None] * unmoved
    combined = sampler.combined(before, rates(sampler, exact, middle).expand_as(before))
    between = x.expand(len(x), -1, -1)
    second = leap_distribution(between, combined, ((1 - sampler.theta) * elapsed).expand_as(between))
    second = torch.einsum("xza,xzb,xzc->xzabc", *second.unbind(2)).flatten(2)
    return torch.einsum("xz,xzy->xy", first, second)


def sampled(sampler: Sampler, exact: Oracle, steps: int) -> Tensor:
    """The exact distribution of samples after N steps and the final denoising."""
    count, graph = len(exact.states), exact.graph
    prior = graph.prior_law()
    probs = prior[exact.states].prod(-1)
    times = torch.linspace(1, 1e-5, steps + 1, dtype=torch.float64)
    levels = [exact.noise(t.expand(count)) for t in times]
    for level, level_next in pairwise(levels):
        probs = probs @ kernel_of(sampler, exact, level, level_next)
    positions, denoised = denoising_distribution(exact.states, levels[-1], exact.score_fn(), graph)
    final = torch.nn.functional.one_hot(exact.states, graph.num_states).double()
    final[positions] = denoised
    return exact.propagate(probs, final)[exact.index_of(exact.clean)]


@pytest.mark.parametrize("graph", ["absorb", pytest.param("uniform", marks=pytest.mark.slow)])
def test_conformance(graph: str) -> None:
    noise = plugin(f"noise_{NOISES[graph]}")()
    check_sampler(plugin("sampler_theta_trapezoidal")(), plugin(f"graph_{graph}")(vocab_size=4), noise)


CASES = [
    ("absorb", 0.5),
    *(pytest.param(graph, theta, marks=pytest.mark.slow) for graph in NOISES for theta in (0.3, 0.6)),
]


@pytest.mark.parametrize(("graph", "theta"), CASES)
def test_order_2_at_least_where_no_rate_is_clipped(graph: str, theta: float) -> None:
    """Nearly independent positions: a jump changes the rates of others little."""
    exact, sampler = problem(graph, joint=3, concentration=300.0), plugin("sampler_theta_trapezoidal")(theta=theta)
    distance = [total_variation(sampled(sampler, exact, steps), exact.p0) for steps in (24, 48)]
    assert math.log2(distance[0] / distance[1]) > 1.85


@pytest.mark.parametrize("joint", [3, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "graph", ["uniform", *(pytest.param(graph, marks=pytest.mark.slow) for graph in ("absorb", "hybrid"))]
)
def test_closer_than_tau_leaping_at_equal_calls(graph: str, joint: int) -> None:
    exact, tau_leaping = problem(graph, joint), plugin("sampler_tau_leaping")()
    distance = total_variation(sampled(plugin("sampler_theta_trapezoidal")(), exact, 32), exact.p0)
    assert distance < 0.55 * total_variation(exact.sampled(tau_leaping, 64), exact.p0)


@pytest.mark.parametrize("graph", NOISES)
def test_a_step_draws_from_its_distribution(graph: str) -> None:
    exact, sampler, count = problem(graph), plugin("sampler_theta_trapezoidal")(theta=0.3), 30_000
    start = torch.tensor([0, 1, 2]) if graph == "uniform" else torch.tensor([3, 1, 3])

    def levels(number: int) -> list[NoiseLevel]:
        return [NoiseLevel.of_sigma(torch.full((number,), sigma, dtype=torch.float64)) for sigma in (1.5, 0.2)]

    expected = kernel_of(sampler, exact, *levels(len(exact.states)))[exact.index_of(start)]
    x, draws = start.expand(count, -1), Draws(0, torch.arange(count))
    out = sampler.step(x, *levels(count), exact.score_fn(), exact.graph, draws)
    counts = torch.bincount(exact.index_of(out), minlength=len(expected)).double()
    assert total_variation(counts / count, expected) < 0.5 * (len(expected) / count) ** 0.5 + 0.013
    assert sampler.stats.calls == 2


def test_leaps_follow_the_formula() -> None:
    """Half of a step on the clock of a process that only masks; rates that the first leap used are subtracted."""
    exact, sampler = problem("absorb"), plugin("sampler_theta_trapezoidal")()
    step = Step(*(NoiseLevel.of_sigma(torch.tensor([-math.log(1 - share)])) for share in (0.8, 0.2)))
    middle, elapsed = sampler.middle(step, exact.graph)
    torch.testing.assert_close(torch.exp(-middle.sigma), torch.tensor([0.6]).double(), check_dtype=False)
    torch.testing.assert_close(elapsed, torch.tensor([math.log(4)]), check_dtype=False)
    second, before = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([1.0, 5.0, 0.0])
    torch.testing.assert_close(sampler.combined(before, second), torch.tensor([1.0, 0.0, 0.0]))


def test_settings_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"theta must lie in \(0, 1\), not 1.0"):
        plugin("sampler_theta_trapezoidal")(theta=1.0)
