"""SEDD beside the figures of its authors' code: bounds term by term, laws of samplers, recorded trajectories."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from sedd_core import plugin
from tests.support.families import WHOLE, Exact, arrays, needs_whole, nodes, race

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_the_terms_of_the_bound(graph: str) -> None:
    """Summed over all states, over the authors' range of time and the part that they leave out."""
    model, golden = Exact(GOLDEN / graph), arrays(GOLDEN / graph / "exact.npz")
    states, x0, eps = golden["states"], golden["x0"], golden["eps"].item()
    start, low, high = model.noise(torch.tensor([0.0, eps, 1.0]).double()).sigma.tolist()
    whole = model.integral(states, x0, nodes(48, low, 1, "log") + nodes(96, 1, high), of_sigma=True)
    torch.testing.assert_close(whole, golden["integral_eps_to_1"], rtol=1e-6, atol=0)
    left_out = model.integral(states, x0, nodes(24, max(start, 1e-14), low, "log"), of_sigma=True)
    torch.testing.assert_close(left_out, golden["integral_0_to_eps"], rtol=1e-6, atol=1e-12)
    if graph == "uniform":
        prior = model.graph.prior_kl(x0, model.noise(torch.tensor(1.0))).sum(-1)
        torch.testing.assert_close(prior, golden["prior_kl"].expand(len(x0)), rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("steps", [2, 8, 32])
@pytest.mark.parametrize("sampler", ["euler", "analytic"])
@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_the_laws_of_the_samplers(graph: str, sampler: str, steps: int) -> None:
    model, golden = Exact(GOLDEN / graph), arrays(GOLDEN / graph / "exact.npz")
    states, times = golden["states"], torch.linspace(1, 1e-5, steps + 1, dtype=torch.float64)
    law = model.law(plugin(f"sampler_{sampler}")(), states, times, model.denoised(states))
    torch.testing.assert_close(law, golden[f"law_{sampler}_{steps}"], rtol=0, atol=3e-6)


@needs_whole
@pytest.mark.parametrize("sampler", ["euler", "analytic"])
@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_trajectories(graph: str, sampler: str) -> None:
    """The recorded uniforms, put into each step's law, give the recorded tokens at every step."""
    golden, model = arrays(WHOLE / "sedd" / f"{graph}.npz"), Exact(WHOLE / "sedd" / f"{graph}_hub")
    x, truths = golden[f"traj_{sampler}_start"], golden[f"traj_{sampler}_next"]
    levels = [model.noise(t).at(x[:, 0]) for t in torch.linspace(1, 1e-5, 7, dtype=torch.float64)]
    for (now, then), u, truth in zip(pairwise(levels), golden[f"traj_{sampler}_u"], truths[:-1], strict=True):
        x = race(plugin(f"sampler_{sampler}")().step_distribution(x, now, then, model, model.graph), u)
        assert torch.equal(x, truth)
    clean = model.denoised(x)(levels[-1])[..., : golden[f"traj_{sampler}_u_denoise"].shape[-1]]
    assert torch.equal(race(clean, golden[f"traj_{sampler}_u_denoise"]), truths[-1])
