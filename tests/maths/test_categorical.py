"""Rare tokens at the size of a real vocabulary, samples of many steps, and the memory that draws take.

A uniform number in the last m of (0, 1) is what one in 1/m draws has: by drawing only those, 4000 draws stand for
4000/m. Statistical tests are at 3 standard errors for a count and at 1e-5 for a chi-square.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from sedd_core import plugin
from sedd_core.maths.categorical import categorical
from sedd_core.maths.draws import Draws
from sedd_core.sampling.grid import time_grid
from sedd_core.stages import NoiseLevel, Sampler

categorical_module = importlib.import_module("sedd_core.maths.categorical")


V = 50257
RARE = 50
"""How many tokens are rare: the last ones, on both sides of the start of a block of 256."""
DRAWN = 4000

Law = Callable[[Tensor, Tensor], Tensor]


def zipf(size: int) -> Tensor:
    weights = 1 / torch.arange(1, size + 1, dtype=torch.float64)
    return weights / weights.sum()


def hits(probability: float, seed: int, draw: Law) -> tuple[Tensor, Tensor]:
    """Counts of the rare tokens, each of this probability, and the counts expected of them."""
    law = zipf(V)
    first = V - V % 256 - RARE // 2
    law[first : first + RARE] = probability
    law[first + RARE :] = 0
    weights = law.float()
    exact = weights.double() / weights.double().sum()
    window = 2 * exact[first:].sum()
    uniform = 1 - window * Draws(seed, torch.arange(DRAWN)).uniform("window")
    drawn = torch.cat([draw(weights.expand(len(part), -1), part) for part in uniform.split(200)])
    return torch.bincount(drawn, minlength=V)[first : first + RARE], DRAWN * exact[first : first + RARE] / window


def rates_are_right(counts: Tensor, expected: Tensor) -> bool:
    """All of them together within 3 standard errors, and each by chi-square."""
    assert expected.min() >= 30
    share = expected.sum() / DRAWN
    error = abs(counts.sum() - expected.sum()) / (DRAWN * share * (1 - share)).sqrt()
    square = ((counts - expected) ** 2 / expected).sum().item()
    return bool(error < 3) and chi2.sf(square, RARE) > 1e-5


@pytest.mark.parametrize("probability", [1e-6, 1e-7, 1e-8, 1e-9])
def test_rare_tokens_are_hit_at_their_rate(probability: float, seed: int) -> None:
    assert rates_are_right(*hits(probability, seed, categorical))


def float32_uniforms(weights: Tensor, uniform: Tensor) -> Tensor:
    return categorical(weights, uniform.float().double().clamp(max=1 - 2**-53))


def float32_sums(weights: Tensor, uniform: Tensor) -> Tensor:
    cumulated = weights.cumsum(-1)
    return torch.searchsorted(cumulated, (uniform.float() * cumulated[:, -1])[:, None]).clamp(max=V - 1)[:, 0]


@pytest.mark.parametrize("fault", [float32_uniforms, float32_sums])
@pytest.mark.parametrize("probability", [1e-8, 1e-9])
def test_float32_is_found(probability: float, fault: Law, seed: int) -> None:
    assert not rates_are_right(*hits(probability, seed, fault))


class Rarely(Draws):
    """Uniforms for `move` below 2e-9: one draw in 5e8."""

    def uniform(self, stream: str, *shape: int) -> Tensor:
        return super().uniform(stream, *shape) * (2e-9 if stream == "move" else 1.0)


class Coarse(Rarely):
    """A planted fault: of 24 bits, as a float32 uniform is."""

    def uniform(self, stream: str, *shape: int) -> Tensor:
        return (super().uniform(stream, *shape) * 2**24).floor() / 2**24


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_moves_of_probability_1e_9_happen_at_their_rate(graph: str, seed: int) -> None:
    """Next to a weight of staying near 1, with float32 scores over the whole vocabulary."""
    process, noise = plugin(f"graph_{graph}")(vocab_size=V), plugin("noise_loglinear")()
    sampler, count = plugin("sampler_euler")(), 200
    t = torch.full((1,), 0.5).double()
    level, level_next = noise(t), noise(t - 1e-3)
    x = torch.full((1, count), process.num_states - 1)
    rate = process.pi[x[0, 0]] * level.rate[0] * 1e-3
    score = (zipf(process.num_states - 1) * 1e-9 / rate).float().log()
    log_score = torch.cat([score, torch.zeros(1)]).expand(count, -1)
    moved = torch.stack([
        sampler.step(
            x, level, level_next, lambda x, level, positions: log_score, process, kind(seed, torch.tensor([0]))
        ) != x
        for kind in (Rarely, Coarse)
    ])  # fmt: skip
    assert abs(moved[0].sum().item() - count / 2) < 3 * math.sqrt(count) / 2
    assert moved[1].all()


class Strata(Draws):
    """Uniforms of targets, one in each of as many equal parts as there are positions: less variance, the same law."""

    def uniform(self, stream: str, *shape: int) -> Tensor:
        uniform = super().uniform(stream, *shape)
        if stream not in ("target", "denoise"):
            return uniform
        order = Draws(self.seed, torch.zeros(1).long()).uniform("order", uniform.numel())[0].argsort()
        return (order.view(uniform.shape) + uniform) / uniform.numel()


class Race(plugin("sampler_analytic")):
    """A planted fault: a race of exponentials with uniforms of 16 bits; at 64 steps what 24 bits are at 16384."""

    def step(self, x, level, level_next, score_fn, graph, draws, state=None) -> Tensor:
        rows = graph.reachable(x, level)
        law = self.step_distribution(x, level, level_next, score_fn, graph)[rows]
        coarse = (draws.uniform("race", x.shape[1], graph.num_states)[rows] * 2**16).floor() / 2**16
        return x.masked_scatter(rows, (-coarse.log() / law).argmin(-1))


def entropy_of_samples(sampler: Sampler, draws: Draws, steps: int, size: int, positions: int) -> tuple[float, float]:
    """-log p of the tokens that a run of absorb places under a Zipf law, on average, and what it should be."""
    law = zipf(size)
    graph, noise = plugin("graph_absorb")(vocab_size=size), plugin("noise_loglinear")()

    def score_fn(x: Tensor, level: NoiseLevel, positions: Tensor) -> Tensor:
        score = (law.log() - level.sigma[0].expm1().log()).float()
        return torch.cat([score, torch.zeros(1)]).expand(int(positions.sum()), -1)

    x = graph.prior(draws, positions)
    out = sampler.run(x, noise(time_grid(steps, 1e-5)), score_fn, graph, draws)
    return -law.log()[out].mean().item(), -torch.xlogy(law, law).sum().item()


def test_many_steps_do_not_cool_the_samples(seed: int) -> None:
    drawn, exact = entropy_of_samples(plugin("sampler_analytic")(), Strata(seed, torch.arange(1)), 256, 2000, 1024)
    assert abs(drawn - exact) < 0.01


def test_coarse_races_do(seed: int) -> None:
    drawn, exact = entropy_of_samples(Race(), Draws(seed, torch.arange(1)), 64, 2000, 512)
    assert drawn < exact - 0.3


@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("name", ["analytic", "euler"])
@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_nothing_of_the_size_of_all_scores_in_float64(graph: str, name: str, top_p: float, monkeypatch) -> None:
    """No allocation, hidden ones in sums included, of 8 bytes for each of B L S; and slices change no draw."""
    process, noise = plugin(f"graph_{graph}")(vocab_size=4095), plugin("noise_geometric")()
    states = process.num_states
    sampler, draws = plugin(f"sampler_{name}")(top_p=top_p), Draws(0, torch.arange(2))
    score = torch.randn(2 * 64, states)

    def score_fn(x: Tensor, level: NoiseLevel, positions: Tensor) -> Tensor:
        return score[: int(positions.sum())].scatter(-1, x[positions][:, None], 0.0)

    x, levels = process.prior(draws, 64), noise(time_grid(2, 0.5))
    at_once = sampler.run(x, levels, score_fn, process, draws)
    monkeypatch.setitem(categorical_module.CHUNK, "cpu", 2**16)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        in_slices = sampler.run(x, levels, score_fn, process, draws)
    assert torch.equal(in_slices, at_once)
    largest = max(event.nbytes() for event in memory_events(seen))
    assert score.nbytes <= largest < 2 * score.nbytes
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        score.sum(-1, dtype=torch.float64)
    assert max(event.nbytes() for event in memory_events(seen)) >= 2 * score.nbytes


def memory_events(seen: profile) -> list:
    """Every allocation of a profile."""
    found = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert found
    return found
