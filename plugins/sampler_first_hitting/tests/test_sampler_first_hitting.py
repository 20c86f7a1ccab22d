"""The first-hitting sampler."""

import hashlib

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from sedd_core import plugin
from sedd_core.maths import Draws, log_expm1
from sedd_core.stages import NoiseLevel, Sampler
from sedd_core.testing import Oracle, check_sampler, random_joint

SAMPLES = 40_000


def problem(vocab: int, joint: int) -> Oracle:
    return Oracle(
        plugin("graph_absorb")(vocab_size=vocab), plugin("noise_loglinear")(), random_joint(vocab, 3, seed=joint)
    )


def score_of(oracle: Oracle):
    """The exact scores at any levels: on absorb, their dependence on noise is a factor 1 / expm1(sigma)."""
    one = torch.ones((), dtype=torch.float64)
    table = oracle.log_score(oracle.states, 1.0) + log_expm1(one)

    def score(x: Tensor, level: NoiseLevel, positions: Tensor) -> Tensor:
        scaled = table[oracle.index_of(x)] - log_expm1(level.at(x).sigma)[..., None]
        return scaled.scatter(-1, x[..., None], 0.0)[positions]

    return score


def p_value(sampler: Sampler, oracle: Oracle, steps: int, name: str) -> float:
    """That of a chi-square test of samples against p0; the seed is a hash of the name."""
    draws = Draws(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16), torch.arange(SAMPLES))
    levels = oracle.noise(torch.linspace(1.0, 1e-5, steps + 1, dtype=torch.float64))
    out = sampler.run(oracle.graph.prior(draws, 3), levels, score_of(oracle), oracle.graph, draws)
    strides = oracle.graph.vocab_size ** torch.arange(2, -1, -1)
    counts = torch.bincount((out * strides).sum(-1), minlength=len(oracle.p0)).double()
    expected = SAMPLES * oracle.p0
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum().item(), len(counts) - 1))


def test_conformance() -> None:
    check_sampler(plugin("sampler_first_hitting")(), plugin("graph_absorb")(vocab_size=4), plugin("noise_loglinear")())


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize(("vocab", "joint"), [(3, 0), (4, 1)])
def test_samples_have_the_distribution_of_the_data_in_any_number_of_steps(steps: int, vocab: int, joint: int) -> None:
    sampler = plugin("sampler_first_hitting")()
    assert p_value(sampler, problem(vocab, joint), steps, f"first hitting {steps} {vocab} {joint}") > 1e-4
    assert steps > 1 or sampler.stats.calls in (3, 4)  # one per token; another if a mask is left to denoise


def test_the_test_rejects_two_sites_per_call() -> None:
    assert p_value(plugin("sampler_first_hitting")(sites=2), problem(3, 0), 1, "two sites") < 1e-6


def test_noise_levels_are_those_of_the_hitting_times() -> None:
    """The share of masks left after a step is that of the process, and each call is at the time of its first hit."""
    graph, noise, count = plugin("graph_absorb")(vocab_size=3), plugin("noise_loglinear")(), 20_000
    seen: list[NoiseLevel] = []

    def score(x: Tensor, level: NoiseLevel, positions: Tensor) -> Tensor:
        seen.append(level)
        return torch.zeros(int(positions.sum()), 4, dtype=torch.float64)

    level, level_next = (noise(torch.full((count,), t, dtype=torch.float64)) for t in (0.8, 0.2))
    x, draws = torch.full((count, 2), 3), Draws(1, torch.arange(count))
    out = plugin("sampler_first_hitting")().step(x, level, level_next, score, graph, draws)
    share = (out == 3).double().mean().item()
    assert abs(share - 0.25) < 5 * (0.25 * 0.75 / (2 * count)) ** 0.5
    first, second = seen
    assert (first.sigma <= level.sigma).all()
    assert (second.sigma <= first.sigma).all()
    assert (second.sigma >= level_next.sigma).all()
    torch.testing.assert_close(noise(first.t).sigma, first.sigma)
    ratio = (torch.expm1(-first.sigma) / torch.expm1(-level.sigma)).mean().item()
    truncated = 2 / 3 + 0.25**3 / 3  # E[max(u1, u2, .25)] of two uniform numbers
    assert abs(ratio - truncated) < 5 * 0.25 / count**0.5


@pytest.mark.parametrize("name", ["uniform", "hybrid", "gidd"])
def test_other_graphs_are_refused(name: str) -> None:
    assert "only mask" in plugin("sampler_first_hitting")().incompatibility(plugin(f"graph_{name}")(vocab_size=4))


def test_sites_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        plugin("sampler_first_hitting")(sites=0)
