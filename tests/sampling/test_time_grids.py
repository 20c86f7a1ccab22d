"""Time grids, and what temperature and top-p change and leave alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.maths.categorical import sharpen
from sedd_core.maths.draws import Draws
from sedd_core.sampling.grid import Grid, time_grid
from sedd_core.stages import NoiseLevel, Sampler
from sedd_core.testing import total_variation
from tests.support.graphs import chi_square, random_pi
from tests.support.oracles import PAIRS, SAMPLERS, oracle

GRIDS: list[Grid] = ["uniform", "cosine", "equal"]
NOISES = {name: plugin(f"noise_{name}")() for name in PAIRS.values()}


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_grid_falls_from_one_to_its_end(grid: Grid, noise: str, steps: int) -> None:
    times = time_grid(steps, 1e-5, grid, NOISES[noise])
    assert len(times) == steps + 1
    assert times[0] == 1
    assert times[-1].item() == pytest.approx(1e-5, rel=1e-9)
    assert (times.diff() < 0).all()
    assert times.dtype == torch.float64


@pytest.mark.parametrize("noise", NOISES)
def test_the_formulas(noise: str) -> None:
    schedule, part = NOISES[noise], torch.arange(9).double() / 8
    torch.testing.assert_close(time_grid(8, 0.1), 1 - 0.9 * part)
    torch.testing.assert_close(time_grid(8, 0.1, "cosine"), 0.1 + 0.9 * torch.cos(math.pi / 2 * part))
    change = 1 - torch.exp(-schedule(time_grid(8, 0.1, "equal", schedule)).sigma)
    torch.testing.assert_close(change.diff(), change.diff().mean().expand(8))
    if noise == "loglinear":
        torch.testing.assert_close(time_grid(8, 0.1, "equal", schedule), time_grid(8, 0.1))
    with pytest.raises(ValueError, match="noise schedule"):
        time_grid(8, 0.1, "equal")


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("graph", PAIRS)
@pytest.mark.parametrize("grid", GRIDS)
def test_total_variation_falls_at_first_order_on_every_grid(grid: Grid, graph: str, name: str) -> None:
    """Euler with uniform on the grid `equal` is not there yet: its first steps, from sigma 20, are too long for it."""
    exact, sampler = oracle(graph, 0), plugin(f"sampler_{name}")()
    first, last = (total_variation(exact.sampled(sampler, n, grid=grid), exact.p0) for n in (64, 128))
    early = (grid, graph, name) == ("equal", "uniform", "euler")
    assert abs(math.log2(first / last) - 1) < (0.3 if early else 0.15)


def laws(sampler: Sampler, graph: str) -> tuple[Tensor, Tensor]:
    """The law of a step at all states, and the number of the current state."""
    exact = oracle(graph, 0)
    times = (torch.full((len(exact.states),), value, dtype=torch.float64) for value in (0.7, 0.4))
    levels = (exact.noise(t) for t in times)
    return sampler.step_distribution(exact.states, *levels, exact.score_fn(), exact.graph), exact.states


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("graph", PAIRS)
def test_temperature_and_top_p_change_where_a_jump_goes_and_not_whether(graph: str, name: str) -> None:
    plain, here = laws(plugin(f"sampler_{name}")(), graph)
    for settings in ({"temperature": 0.5}, {"temperature": 3.0}, {"top_p": 0.6}, {"temperature": 0.8, "top_p": 0.9}):
        changed, _ = laws(plugin(f"sampler_{name}")(**settings), graph)
        stay, still = (law.gather(-1, here[..., None]) for law in (plain, changed))
        torch.testing.assert_close(stay, still, rtol=1e-12, atol=1e-15)
        assert (plain - changed).abs().max() > 0.01
        assert (changed[plain == 0] == 0).all()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("graph", PAIRS)
def test_one_is_off_to_the_last_bit(graph: str, name: str, seed: int) -> None:
    exact, draws = oracle(graph, 0), Draws(seed, torch.arange(50))
    x, levels = exact.graph.prior(draws, 3), exact.noise(time_grid(4, 0.1))
    runs = []
    for sampler in (plugin(f"sampler_{name}")(), plugin(f"sampler_{name}")(temperature=1.0, top_p=1.0)):
        runs.append(sampler.run(x, levels, exact.score_fn(), exact.graph, draws))
    assert torch.equal(*runs)
    assert torch.equal(laws(plugin(f"sampler_{name}")(), graph)[0], laws(sampler, graph)[0])
    weights = torch.rand(5, 7)
    assert sampler.reweight_targets(weights, torch.zeros(5).long()) is weights


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("graph", PAIRS)
def test_a_run_with_temperature_and_top_p_draws_its_law(graph: str, name: str, seed: int) -> None:
    """20,000 runs of three steps and a final denoising, chi-square at 1e-5; the plain law is rejected."""
    exact, draws = oracle(graph, 0, noise="loglinear"), Draws(seed, torch.arange(20_000))
    sampler = plugin(f"sampler_{name}")(temperature=0.7, top_p=0.95)
    levels = exact.noise(time_grid(3, 0.3))
    out = sampler.run(exact.graph.prior(draws, 3), levels, exact.score_fn(), exact.graph, draws)
    drawn = (out * 4 ** torch.arange(2, -1, -1)).sum(-1)
    assert chi_square(drawn, exact.sampled(sampler, 3, t_min=0.3)) > 1e-5
    assert chi_square(drawn, exact.sampled(plugin(f"sampler_{name}")(), 3, t_min=0.3)) < 1e-5


def test_sharpening() -> None:
    """Powers, the smallest set that reaches top_p, row sums, and zeros."""
    weights = torch.tensor([[0.4, 0.0, 0.1, 0.3], [0.0, 0.0, 0.0, 0.0], [8.0, 0.0, 1.0, 1.0]]).double()
    cold = sharpen(weights, 0.5, 1.0)
    torch.testing.assert_close(cold[0], torch.tensor([0.16, 0.0, 0.01, 0.09]).double() * 0.8 / 0.26)
    assert (sharpen(weights, 0.01, 0.5)[1] == 0).all()
    torch.testing.assert_close(sharpen(weights, 1.0, 0.51)[0], torch.tensor([0.8 * 4 / 7, 0, 0, 0.8 * 3 / 7]).double())
    assert (sharpen(weights, 1.0, 0.49)[0] > 0).tolist() == [True, False, False, False]
    assert (sharpen(weights, 1.0, 0.95)[2] > 0).tolist() == [True, False, True, True]
    for temperature, top_p in [(0.01, 1.0), (100.0, 0.3), (1.0, 1.0)]:
        torch.testing.assert_close(sharpen(weights, temperature, top_p).sum(-1), weights.sum(-1))
        tiny = sharpen((weights * 1e-38).float(), temperature, top_p)
        assert tiny.isfinite().all()
    assert (sharpen(weights, 1e-4, 1.0)[0] > 0).tolist() == [True, False, False, False]


def test_a_mixture_keeps_its_chance_of_leaving_for_the_mask(seed: int) -> None:
    """Where the mask is a target among others; the final denoising never goes there."""
    graph, sampler = random_pi(1, mask=True), plugin("sampler_analytic")(temperature=0.3)
    draws = Draws(seed, torch.arange(8))
    score = torch.rand(6, generator=torch.Generator().manual_seed(seed % 2**32)).double().log()

    def score_fn(x: Tensor, level: NoiseLevel, positions: Tensor) -> Tensor:
        return score.expand(int(positions.sum()), -1).scatter(-1, x[positions][:, None], 0.0)

    out = sampler.run(graph.prior(draws, 3), NOISES["geometric"](time_grid(4, 0.3)), score_fn, graph, draws)
    assert (out < 5).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_impossible_settings_are_refused(name: str) -> None:
    for settings in ({"temperature": 0.0}, {"temperature": math.inf}, {"top_p": 0.0}, {"top_p": 1.1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            plugin(f"sampler_{name}")(**settings)
