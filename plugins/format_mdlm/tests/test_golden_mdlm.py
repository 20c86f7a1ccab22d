"""MDLM and its SEDD beside the figures of their authors' code: networks, losses, samplers, exact bounds."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from tests.support.families import WHOLE, Exact, arrays, level_at, needs_whole, nodes, race

TINY = Path(__file__).parent / "golden" / "tiny"


def close(value: Tensor, truth: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(value.double(), truth.double(), rtol=tolerance, atol=tolerance)


def test_the_network_at_every_set_of_masks() -> None:
    """The cross-entropy of all 256 sequences under all 16 sets: every logit of the tiny network is in it."""
    model, golden = Exact(TINY), arrays(TINY / "exact.npz")
    x0, masks = golden["x0"], golden["mask_subsets"]
    for index, masked in enumerate(masks):
        x = torch.where(masked, model.graph.mask, x0)
        picked = model.log_mean(x, model.noise(torch.tensor(0.5))).gather(-1, x0[..., None])[..., 0]
        close(-torch.where(masked, picked, 0.0).sum(-1), golden["cross_entropy_of_subset"][:, index], 1e-9)


def test_the_bounds() -> None:
    """Of every fifth sequence; in the share of masks the integrand is a cubic, which three nodes integrate."""
    model, golden = Exact(TINY), arrays(TINY / "exact.npz")
    states, x0 = golden["states"], golden["x0"][::5]
    lambdas = [(-math.log1p(-m), w / (1 - m)) for m, w in nodes(3, 0, 1)]
    close(model.integral(states, x0, lambdas, of_sigma=True), golden["any_order_nll_bound"][::5], 1e-9)
    eps = golden["eps"].item()
    integral = model.integral(states, x0, nodes(3, eps, 1))
    close(integral, golden["bound_lambda_1-epseps_to_1-eps"][::5], 1e-9)
    close(integral / (1 - eps), golden["mean_over_t_uniform_eps_1"][::5], 1e-9)


def test_the_laws_of_the_samplers() -> None:
    """The caching sampler ends greedily, the analytic one with a draw.

    The caching one noises without the factor .999, which cancels: the share of masks that a step removes is the same.
    """
    model, golden = Exact(TINY), arrays(TINY / "exact.npz")
    times = torch.linspace(1, 1e-5, 9, dtype=torch.float64)
    analytic = plugin("sampler_analytic")()
    law = model.law(analytic, golden["states"], times, model.denoised(golden["states"]))
    close(law, golden["law_analytic_8"], 1e-9)
    greedy = plugin("sampler_greedy_tail")()
    law = model.law(greedy, golden["states"], times, model.tail(greedy, golden["states"]))
    close(law, golden["law_ddpm_cache_8"], 1e-9)


@needs_whole
@pytest.mark.parametrize(("source", "name"), [("hub", "mdlm"), ("mdlm.ckpt", "mdlm"), ("sedd.ckpt", "sedd")])
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_networks_and_scores(source: str, name: str, kind: str) -> None:
    golden = arrays(WHOLE / "mdlm" / f"{name}.npz")
    model = Exact(WHOLE / "mdlm" / source, torch.float64 if kind == "f64" else torch.float32)
    sigmas = arrays(WHOLE / "mdlm" / "mdlm.npz")[f"sigma_{kind}"].double()
    for index, (x, t, sigma) in enumerate(zip(golden["xt"], golden["t"], sigmas, strict=True)):
        level = level_at(t, sigma)
        close(
            model.logits(x, level),
            golden[f"logits_{kind}"][index],
            1e-4 if kind == "f32" else 1e-9 if name == "mdlm" else 3e-6,
        )
        masked = x == model.graph.mask
        tolerance = 5e-5 if kind == "f32" else 3e-6
        close(model(x, level)[masked][:, :-1], golden[f"log_score_{kind}"][index][masked][:, :-1], tolerance)
        if name == "mdlm":
            close(model.log_mean(x, level)[masked], golden[f"log_x_theta_{kind}"][index][masked][:, :-1], tolerance)


@needs_whole
@pytest.mark.parametrize(("source", "name"), [("hub", "mdlm"), ("sedd.ckpt", "sedd")])
def test_losses(source: str, name: str) -> None:
    model, golden = Exact(WHOLE / "mdlm" / source), arrays(WHOLE / "mdlm" / f"{name}.npz")
    kept = golden.get("attention_mask", torch.ones_like(golden["x0"]))
    for x, t, truth in zip(golden["xt"], golden["t"], golden["loss_per_token_f64"], strict=True):
        close(model.integrand(x, golden["x0"], model.noise(t)) * kept, truth, 3e-6)


@needs_whole
@pytest.mark.parametrize("name", ["ddpm", "ddpm_cache", "analytic"])
def test_sampler_weights_and_trajectories(name: str) -> None:
    golden = arrays(WHOLE / "mdlm" / "mdlm.npz")
    model, sampler = Exact(WHOLE / "mdlm" / "hub"), plugin("sampler_analytic")()
    for x, t, weights in zip(golden["xt"], golden["t"], golden[f"probs_{name}_f64"], strict=True):
        levels = [model.noise(time).at(x[:, 0]) for time in (t, t - golden["dt"])]
        law, masked = sampler.step_distribution(x, *levels, model, model.graph), x == model.graph.mask
        close(law[masked], (weights / weights.sum(-1, keepdim=True))[masked], 1e-9)
    uniform = golden[f"traj_{name}_u"]
    x = torch.full(uniform.shape[1:3], model.graph.mask)
    levels = [model.noise(t).at(x[:, 0]) for t in torch.linspace(1, 1e-5, 9, dtype=torch.float64)]
    for u, (now, then) in zip(uniform, pairwise(levels), strict=True):
        x = race(sampler.step_distribution(x, now, then, model, model.graph), u)
    ends = model.denoised(x) if name == "analytic" else model.tail(plugin("sampler_greedy_tail")(), x)
    x = race(ends(levels[-1]), golden["traj_analytic_u_denoise"])
    assert torch.equal(x, golden[f"traj_{name}_result"])


def test_the_name_ancestral_is_the_posterior_of_the_mean() -> None:
    """With the mean of the clean token, the step of MDLM and Duo is the analytic one: no sampler of its own."""
    model = Exact(TINY)
    x = torch.tensor([[4, 1, 4, 2]])
    now, then = (model.noise(torch.tensor([t]).double()) for t in (0.7, 0.4))
    mean = torch.nn.functional.pad(model.log_mean(x, now).exp(), (0, 1))
    moved, left = ((1 - torch.exp(-level.sigma)) for level in (now, then))
    weights = mean * (moved - left) + torch.nn.functional.one_hot(torch.tensor(4), 5) * left
    law = plugin("sampler_ancestral")().step_distribution(x, now, then, model, model.graph)
    close(law[x == 4], (weights / moved)[x == 4], 1e-12)
