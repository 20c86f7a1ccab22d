"""GIDD beside the figures of its authors' code: networks, losses, its sampler, exact bounds."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from tests.support.families import WHOLE, Exact, arrays, needs_whole, nodes

GOLDEN = Path(__file__).parent / "golden"
TINY = GOLDEN / "tiny"
SHARES = ("0.0", "0.2")


def close(value: Tensor, truth: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(value.double(), truth.double(), rtol=tolerance, atol=tolerance)


def check_bounds(model: Exact, golden: dict[str, Tensor]) -> None:
    states, x0, end = golden["states"], golden["x0"], golden["t_eps"].item()
    integral = model.integral(states, x0, nodes(80, end, 1 - end, "logit"))
    close(integral, golden["integral_teps_to_1-teps"], 1e-6)
    close(integral / (1 - 2 * end), golden["mean_over_t_uniform"], 1e-6)
    model.noise.T_EPS = 0.0  # beyond the range that the schedule holds times in
    low = model.integral(states, x0, nodes(32, 1e-18, end, "log"))
    close(low, golden["integral_0_to_teps"], 1e-6)
    rest = [(1 - t, weight) for t, weight in nodes(32, 1e-12, end, "log")]
    close(model.integral(states, x0, rest), golden["integral_1-teps_to_1"], 2e-8)


def check_law(model: Exact, golden: dict[str, Tensor]) -> None:
    """Their N steps are N - 1, from the second point of the grid on, and masks can be left."""
    grid = (1 - 2e-4) * torch.arange(9, dtype=torch.float64).flip(0) / 8 + 1e-4
    states = golden["states"]
    law = model.law(plugin("sampler_analytic")(), states, grid[1:], lambda level: one_hot(states, model))
    close(law, golden["law_8"], 3e-6)


def floored(model: Exact) -> Exact:
    """The process as the authors compute it without uniform noise: with a share of exp(-20)."""
    share = math.exp(-20)
    model.graph = plugin("graph_gidd")(vocab_size=model.graph.vocab_size, p_uniform=share)
    model.noise = plugin("noise_gidd")(p_uniform=share)
    return model


def whole(share: str) -> Exact:
    model = Exact(WHOLE / "gidd" / f"hub_p_unif_{share}")
    return floored(model) if share == "0.0" else model


def one_hot(states: Tensor, model: Exact) -> Tensor:
    return torch.nn.functional.one_hot(states, model.graph.num_states).double()


def test_the_bound() -> None:
    check_bounds(Exact(TINY), arrays(TINY / "exact.npz"))


def test_the_law_of_the_sampler() -> None:
    check_law(Exact(TINY), arrays(TINY / "exact.npz"))


def test_the_bound_and_the_law_without_uniform_noise() -> None:
    folder = GOLDEN / "tiny_without_uniform"
    model, golden = floored(Exact(folder)), arrays(folder / "exact.npz")
    check_bounds(model, golden)
    check_law(model, golden)


@needs_whole
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_networks_and_losses(share: str, kind: str) -> None:
    golden = arrays(WHOLE / "gidd" / f"gidd_p_unif_{share}.npz")
    model = Exact(WHOLE / "gidd" / f"hub_p_unif_{share}", torch.float64 if kind == "f64" else torch.float32)
    tolerance = 1e-4 if kind == "f32" else 3e-6
    for index, (x, t) in enumerate(zip(golden["xt"], golden["t"], strict=True)):
        level = model.noise(t)
        close(model.logits(x, level), golden[f"logits_{kind}"][index], tolerance)
        close(model.log_mean(x, level).exp(), golden[f"x_hat_{kind}"][index][..., :-1], tolerance)
        if kind == "f64":
            close(whole(share).integrand(x, golden["x0"], level), golden["elbo_per_token_f64"][index], 1e-5)


@needs_whole
@pytest.mark.parametrize("share", SHARES)
def test_sampler_weights_and_trajectories(share: str) -> None:
    """Their draw is the first state whose cumulative probability exceeds the uniform number."""
    golden, model = arrays(WHOLE / "gidd" / f"gidd_p_unif_{share}.npz"), whole(share)
    sampler = plugin("sampler_analytic")()
    for x, t, truth in zip(golden["xt"], golden["t"], golden["probs_step_f64"], strict=True):
        levels = [model.noise(time).at(x[:, 0]) for time in (t, t - golden["ds"])]
        close(sampler.step_distribution(x, *levels, model, model.graph), truth, 3e-6)
    x = torch.full(golden["traj_next"].shape[1:], model.graph.mask)
    times = golden["traj_grid"].sort(descending=True).values[1:]
    for (now, then), u, truth in zip(pairwise(times), golden["traj_u"], golden["traj_next"], strict=False):
        law = sampler.step_distribution(x, *(model.noise(t).at(x[:, 0]) for t in (now, then)), model, model.graph)
        x = (law.cumsum(-1) > u[..., None]).long().argmax(-1)
        assert torch.equal(x, truth)
    assert torch.equal(x, golden["traj_result"])
