"""Duo and UDLM beside the figures of their authors' code: networks, losses, samplers, exact bounds."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.stages import NoiseLevel
from tests.support.families import WHOLE, Exact, arrays, level_at, needs_whole, nodes, race

TINY = Path(__file__).parent / "golden" / "tiny"
UDLM = TINY.parent / "udlm_cfg"
"""UDLM with classes, whole, and two of its four noise levels."""


def close(value: Tensor, truth: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(value.double(), truth.double(), rtol=tolerance, atol=tolerance)


def level_of(t: Tensor, noise: str = "log-linear") -> NoiseLevel:
    """The published schedules; the cosine's rate leaves out the factor .999, as the authors' code does."""
    angle = math.pi / 2 * (1 - 0.999 * t)
    alpha = 1 - 0.999 * t if noise == "log-linear" else 1 - angle.cos()
    slope = torch.full_like(t, 0.999) if noise == "log-linear" else math.pi / 2 * angle.sin()
    return NoiseLevel(t, -alpha.log(), slope / alpha)


def test_the_terms_of_the_bound() -> None:
    """Summed over all states, over the authors' ranges of time."""
    model, golden = Exact(TINY), arrays(TINY / "exact.npz")
    states, x0, eps = golden["states"], golden["x0"], golden["eps"].item()
    low, high = model.noise(torch.tensor([eps, 1.0]).double()).sigma.tolist()
    most = nodes(48, low, 1, "log") + nodes(96, 1, high)
    close(model.integral(states, x0, most, of_sigma=True), golden["integral_eps_to_1"], 1e-6)
    close(model.integral(states, x0, nodes(24, 1e-14, low, "log"), of_sigma=True), golden["integral_0_to_eps"], 1e-6)
    close(model.graph.prior_kl(x0, model.noise(torch.tensor(1.0))).sum(-1), golden["prior_kl"].expand(len(x0)), 1e-9)


def test_the_laws_of_the_samplers() -> None:
    model, golden = Exact(TINY), arrays(TINY / "exact.npz")
    states, times = golden["states"], torch.linspace(1, 1e-5, 9, dtype=torch.float64)
    close(
        model.law(plugin("sampler_analytic")(), states, times, model.denoised(states)), golden["law_ancestral_8"], 3e-6
    )
    tail = plugin("sampler_greedy_tail")()
    close(model.law(tail, states, times, model.tail(tail, states)), golden["law_ancestral_8_greedy_tail"], 3e-6)


@needs_whole
@pytest.mark.parametrize("source", ["hub", "duo.ckpt"])
@pytest.mark.parametrize("noise", ["log-linear", "cosine"])
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_networks_losses_and_weights(source: str, noise: str, kind: str) -> None:
    golden = arrays(WHOLE / "duo" / f"duo_{noise}.npz")
    model = Exact(WHOLE / "duo" / source, torch.float64 if kind == "f64" else torch.float32)
    sampler, loose = plugin("sampler_analytic")(), 1e-4 if kind == "f32" else 3e-6
    for index, (x, t, sigma) in enumerate(zip(golden["xt"], golden["t"], golden[f"sigma_{kind}"], strict=True)):
        level = level_at(t, sigma.double())
        close(model.logits(x, level), golden[f"logits_{kind}"][index], loose)
        close(model.log_mean(x, level), golden[f"log_x_theta_{kind}"][index], loose)
        assert torch.equal(model.log_mean(x, level).argmax(-1), golden["greedy"][index])
        if kind == "f64":
            now, then = (level_of(time, noise) for time in (t, t - golden["dt"]))
            close(model.integrand(x, golden["x0"], now), golden["nll_per_token_f64"][index], 1e-5)
            levels = [one.at(x[:, 0]) for one in (now, then)]
            law = sampler.step_distribution(x, *levels, model, model.graph)
            close(law, golden["probs_ancestral_f64"][index], 3e-6)
            close(model.denoised(x)(levels[0]), golden["probs_noise_removal_f64"][index], 3e-6)


@needs_whole
@pytest.mark.parametrize("noise", ["log-linear", "cosine"])
def test_trajectories(noise: str) -> None:
    golden, model = arrays(WHOLE / "duo" / f"duo_{noise}.npz"), Exact(WHOLE / "duo" / "hub")
    times = torch.linspace(1, 1e-5, 7, dtype=torch.float64)
    for name, sampler in (("ancestral", plugin("sampler_ancestral")()), ("greedy", plugin("sampler_greedy_tail")())):
        x, draws = golden[f"traj_{name}_start"], golden[f"traj_{name}_u"]
        levels = [level_of(t, noise).at(x[:, 0]) for t in times]
        laws = [(now, then) for now, then in pairwise(levels)]
        for (now, then), u, truth in zip(laws, draws, golden[f"traj_{name}_next"], strict=False):
            x = race(sampler.step_distribution(x, now, then, model, model.graph), u)
            assert torch.equal(x, truth)
        ends = model.denoised(x) if name == "ancestral" else model.tail(sampler, x)
        x = race(ends(levels[-1]), draws[-1])
        assert torch.equal(x, golden[f"traj_{name}_result"])


@pytest.mark.parametrize("name", ["cfg", pytest.param("plain", marks=needs_whole)])
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_udlm(name: str, kind: str) -> None:
    """Its loss takes alpha = 1 - t, while its process and network have 1 - .999 t; guidance 0 is the label of none."""
    folder = UDLM if name == "cfg" else WHOLE / "udlm" / "hub_plain"
    golden = arrays(UDLM / "golden.npz" if name == "cfg" else WHOLE / "udlm" / "udlm_plain.npz")
    model = Exact(folder, torch.float64 if kind == "f64" else torch.float32)
    x0, cond, loose = golden["x0"], golden.get("cond"), 2e-4 if kind == "f32" else 3e-6
    for index, (x, t, sigma) in enumerate(zip(golden["xt"], golden["t"], golden[f"sigma_{kind}"], strict=True)):
        level = level_at(t, sigma.double())
        close(model.logits(x, level, cond), golden[f"logits_{kind}"][index], loose / 2)
        if cond is not None:
            close(model.logits(x, level), golden[f"logits_unconditional_{kind}"][index], loose / 2)
        log_mean = model.log_mean(x, level, cond)
        close(log_mean, golden[f"log_x_theta_{kind}"][index], loose)
        if kind == "f64":
            loss_level = NoiseLevel(t, -torch.log1p(-t), 1 / (1 - t))
            log_score = model.graph.score_from_mean(log_mean, x, loss_level.at(x))
            close(model.entropy(log_score, x, x0, loss_level), golden["diffusion_loss_f64"][index], 1e-5)
    clean = model.log_mean(x0, level_at(torch.tensor(0.0), torch.tensor(0.0).double()), cond)
    truth = golden[f"reconstruction_loss_{kind}"]
    close(-clean.gather(-1, x0[..., None])[..., 0].expand_as(truth), truth, loose)


@needs_whole
def test_the_weights_of_udlms_sampler() -> None:
    golden, model = arrays(WHOLE / "udlm" / "udlm_plain.npz"), Exact(WHOLE / "udlm" / "hub_plain")
    for x, t, truth in zip(golden["xt"], golden["t"], golden["probs_ddpm_f64"], strict=True):
        levels = [model.noise(time).at(x[:, 0]) for time in (t, t - golden["dt"])]
        close(plugin("sampler_ancestral")().step_distribution(x, *levels, model, model.graph), truth, 3e-6)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
def test_classifier_free_guidance(gamma: float) -> None:
    """Posteriors of UDLM's guided steps."""
    golden, model = arrays(UDLM / "golden.npz"), Exact(UDLM)

    def score_of(cond: Tensor | None) -> Any:
        def score(x: Tensor, level: NoiseLevel, positions: Tensor) -> Tensor:
            return model.head.log_score(model.logits(x, level, cond), x, level.at(x), model.graph)[positions]

        return score

    given = score_of(golden["cond"])
    given.unconditional = lambda: score_of(None)
    truths = golden[f"probs_cfg_{gamma}_f64"]
    for x, t, truth in zip(golden["xt"], golden["t"], truths, strict=True):
        levels = [model.noise(time).at(x[:, 0]) for time in (t, t - golden["dt"])]
        law = plugin("sampler_guided")(gamma=gamma).step_distribution(x, *levels, given, model.graph)
        close(law, truth, 3e-6)
