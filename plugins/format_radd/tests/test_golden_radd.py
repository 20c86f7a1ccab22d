"""RADD beside the figures of its authors' code: its network after the rewrite, losses, samplers, exact bounds."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from tests.support.families import WHOLE, Exact, arrays, needs_whole, nodes, race

TINY = Path(__file__).parent / "golden" / "tiny"


def close(value: Tensor, truth: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(value.double(), truth.double(), rtol=tolerance, atol=tolerance)


def entropies(model: Exact, x: Tensor, x0: Tensor) -> Tensor:
    """Cross-entropy [B] of the masked positions; any noise level will do."""
    picked = model.log_mean(x, model.noise(torch.tensor(0.5))).gather(-1, x0[..., None])[..., 0]
    return -torch.where(x == model.graph.mask, picked, 0.0).sum(-1)


def test_the_network_at_every_set_of_masks() -> None:
    """The cross-entropy of all 256 sequences under all 16 sets: every logit of the tiny network is in it."""
    model, golden = Exact(TINY), arrays(TINY / "exact.npz")
    for index, masked in enumerate(golden["mask_subsets"]):
        x = torch.where(masked, model.graph.mask, golden["x0"])
        close(entropies(model, x, golden["x0"]), golden["cross_entropy_of_subset"][:, index], 1e-9)


def test_the_bounds() -> None:
    """Of every fifth sequence; in the share of masks the integrand is a cubic, which three nodes integrate."""
    model, golden = Exact(TINY), arrays(TINY / "exact.npz")
    states, x0, eps = golden["states"], golden["x0"][::5], golden["eps"].item()
    sigmas = [(-math.log1p(-m), w / (1 - m)) for m, w in nodes(3, 0, 1)]
    close(model.integral(states, x0, sigmas, of_sigma=True), golden["any_order_nll_bound"][::5], 1e-9)
    integral = model.integral(states, x0, nodes(3, eps, 1))
    close(integral, golden["bound_lambda_1-epseps_to_1-eps"][::5], 1e-9)
    close(integral / (1 - eps), golden["mean_over_t_uniform_eps_1"][::5], 1e-9)


@pytest.mark.parametrize(("sampler", "name"), [("analytic", "tweedie"), ("euler", "euler")])
def test_the_laws_of_the_samplers(sampler: str, name: str) -> None:
    """Their last step leaves no mask, where ours ends at t = 1e-5 and denoises: 1e-5 of the law at most."""
    model, golden = Exact(TINY), arrays(TINY / "exact.npz")
    times = torch.linspace(1, 1e-5, 9, dtype=torch.float64)
    law = model.law(plugin(f"sampler_{sampler}")(), golden["states"], times, model.denoised(golden["states"]))
    close(law, golden[f"law_{name}_8"], 1e-5)


@needs_whole
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_networks(kind: str) -> None:
    golden = arrays(WHOLE / "radd" / "radd.npz")
    model = Exact(WHOLE / "radd" / "hub", torch.float64 if kind == "f64" else torch.float32)
    level, tolerance = model.noise(torch.tensor(0.5)), 2e-5 if kind == "f32" else 1e-9
    for name, states in (("t", "xt"), ("lambda", "x_lambda"), ("k", "x_k")):
        for index, x in enumerate(golden[states]):
            close(model.logits(x, level), golden[f"logits_{name}_{kind}"][index], tolerance)
            close(model.log_mean(x, level), golden[f"log_c_{name}_{kind}"][index][..., :-1], tolerance)


@needs_whole
def test_losses() -> None:
    """The t-DSE is our integrand; the DCE forms are the cross-entropy with their weights and constants."""
    golden, model = arrays(WHOLE / "radd" / "radd.npz"), Exact(WHOLE / "radd" / "hub")
    x0 = golden["x0"]
    for index, (x, t) in enumerate(zip(golden["xt"], golden["t"], strict=True)):
        level = model.noise(t)
        close(model.integrand(x, x0, level).sum(-1), golden["loss_t_DSE_f64"][index], 1e-9)
        odds, masks = torch.expm1(level.sigma), (x == model.graph.mask).sum(-1)
        dce = level.rate * (entropies(model, x, x0) + masks * odds.log()) / odds
        close(dce, golden["loss_t_DCE_f64"][index], 1e-9)
        share, count = golden["lambda"][index], golden["k"][index]
        close(entropies(model, golden["x_lambda"][index], x0) / share, golden["loss_lambda_DCE_f64"][index], 1e-9)
        close(16 * entropies(model, golden["x_k"][index], x0) / count, golden["loss_k_DCE_f64"][index], 1e-9)


@needs_whole
@pytest.mark.parametrize(("sampler", "name"), [("analytic", "tweedie"), ("euler", "euler")])
def test_sampler_weights_and_trajectories(sampler: str, name: str) -> None:
    golden, model = arrays(WHOLE / "radd" / "radd.npz"), Exact(WHOLE / "radd" / "hub")
    method, step = plugin(f"sampler_{sampler}")(), (1 - 1e-5) / golden["steps_of_rate"]
    for x, t, truth in zip(golden["xt"][1:], golden["t"][1:], golden[f"probs_{name}_f64"], strict=True):
        levels, masked = [model.noise(time).at(x[:, 0]) for time in (t, t - step)], x == model.graph.mask
        close(method.step_distribution(x, *levels, model, model.graph)[masked], truth[masked], 1e-7)  # theirs: float32
    states, levels = golden[f"traj_{name}_states"], model.noise(torch.linspace(1, 1e-5, 9, dtype=torch.float64))
    pairs = list(pairwise(range(9)))
    for (now, then), x, u, truth in zip(pairs, states, golden[f"traj_{name}_u"], states[1:], strict=False):
        law = method.step_distribution(
            x, levels.pick(now).at(x[:, 0]), levels.pick(then).at(x[:, 0]), model, model.graph
        )
        if then == 8:  # their last step is to clean tokens
            law[x == model.graph.mask] *= torch.tensor([1.0] * 30 + [0.0])
        drawn = torch.where(x == model.graph.mask, race(law, u), x)
        assert torch.equal(drawn, truth)
