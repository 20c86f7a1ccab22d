"""The naive implementation computes what the original does, and what the framework does."""

from __future__ import annotations

import json

import pytest
import torch
from objective_score_entropy import ScoreEntropy
from torch import Tensor

from benchmarks.heads import head_work
from benchmarks.naive import (
    NaiveAbsorb,
    NaiveEMA,
    NaiveGraph,
    NaiveModel,
    NaiveUniform,
    draw,
    geometric,
    loglinear,
    loss_of_batch,
    step_weights,
)
from benchmarks.naive.noise import Schedule
from benchmarks.naive.sampling import Kind, race
from sedd_core import load_model, plugin
from sedd_core.model import EMA
from sedd_core.stages import Batch, NoiseLevel
from tests.support.golden_figures import GOLDEN, arrays, close
from tests.support.graphs import chi_square

MODELS = ["absorb_scaled", "absorb_unscaled", "uniform"]


def naive_of(graph: str, states: int) -> tuple[NaiveGraph, Schedule]:
    return (NaiveAbsorb(states), loglinear) if graph == "absorb" else (NaiveUniform(states), geometric)


def golden_model(name: str) -> tuple[NaiveModel, NaiveGraph, Schedule]:
    model, graph, _ = load_model(GOLDEN / "models" / name)
    return NaiveModel(model.backbone, scaled=name == "absorb_scaled"), *naive_of(name[:6], graph.num_states)


@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_are_the_golden_ones(name: str) -> None:
    model, graph, noise = golden_model(name)
    golden, norms = arrays(f"loss_{name}"), json.loads((GOLDEN / f"loss_{name}.json").read_text())
    losses = loss_of_batch(model, graph, noise, golden["batch"], golden["t"], golden["perturbed_batch"])
    close(losses, golden["loss_f64"], rtol=1e-4)
    losses.mean().backward()
    for parameter, tensor in model.backbone.named_parameters():
        norm = norms["grad_l2_f64"][parameter]
        assert abs(tensor.grad.double().norm().item() - norm) <= 1e-4 * (norm + 1e-3), parameter


@pytest.mark.parametrize("name", MODELS)
def test_log_scores_are_the_golden_ones(name: str) -> None:
    model, _, _ = golden_model(name)
    golden = arrays(f"forward_{name}")
    with torch.no_grad():
        close(model(golden["indices"], golden["sigma"]), golden["log_score_f64"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["absorb", "uniform"])
def test_entropies_are_ours_in_float64(name: str, seed: int) -> None:
    """At the levels of the golden figures, on both sides of the switch at sigma = 1/2."""
    golden = arrays(f"graph_{name}")
    sigma, x, x0 = golden["sigma"].double(), golden["x"], golden["x0"]
    ours = plugin(f"graph_{name}")(vocab_size=10 if name == "absorb" else 11)
    generator = torch.Generator().manual_seed(seed)
    score = torch.randn(*x.shape, 11, generator=generator, dtype=torch.float64).scatter(-1, x[..., None], 0.0)
    entropy = naive_of(name, 11)[0].entropy(score, sigma, x, x0)
    truth = ours.score_entropy(score, NoiseLevel.of_sigma(sigma[:, 0]), x, x0)
    close(entropy, truth.where(ours.reachable(x, NoiseLevel.of_sigma(sigma[:, 0])), 0.0), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", ["euler", "analytic"])
@pytest.mark.parametrize("name", ["absorb", "uniform"])
def test_laws_of_a_step_are_ours(name: str, kind: Kind, seed: int) -> None:
    """Where no weight is negative; both clip elsewhere, each in its own way."""
    ours = plugin(f"graph_{name}")(vocab_size=4)
    graph, naive_noise = naive_of(name, ours.num_states)
    noise = plugin("noise_loglinear" if name == "absorb" else "noise_geometric")()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(ours.num_states, (6, 8), generator=generator)
    log_score = 0.3 * torch.randn(6, 8, ours.num_states, generator=generator)
    log_score = log_score.scatter(-1, x[..., None], 0.0)

    def given(x: Tensor, level: NoiseLevel, positions: Tensor | None = None) -> Tensor:
        return log_score if positions is None else log_score[positions]

    t, size = torch.full((6,), 0.6), 0.01
    with torch.no_grad():
        law = plugin(f"sampler_{kind}")().step_distribution(x, noise(t), noise(t - size), given, ours)
        weights = step_weights(kind, log_score.exp(), x, t[:, None], size, graph, naive_noise)
    possible = (weights >= 0).all(-1)
    assert possible.double().mean() > 0.5
    close(weights[possible], law[possible], rtol=2e-3 if kind == "euler" else 2e-4, atol=2e-5)


@pytest.mark.parametrize("kind", ["euler", "analytic", "denoiser"])
@pytest.mark.parametrize("name", ["absorb", "uniform"])
def test_weights_of_a_step_are_the_golden_ones(name: str, kind: Kind) -> None:
    golden = arrays(f"sampling_{name}")
    graph, _ = naive_of(name, 11)
    schedules = {"loglinear": loglinear, "geometric": geometric}
    found = 0
    for noise, schedule in schedules.items():
        for prefix in [f"{noise}_denoise"] if kind == "denoiser" else [f"{noise}_S{s}" for s in (64, 1024)]:
            middle = "probs" if kind == "denoiser" else f"{kind}_probs"
            rows = golden[f"{prefix}__well_conditioned"]
            step_size = golden[f"{prefix}__step_size"].item() if kind != "denoiser" else 0.0
            x, t = golden[f"{prefix}__x"], golden[f"{prefix}__t"]
            score, truth = golden[f"{prefix}__exact__score"], golden[f"{prefix}__exact__{middle}_f64"]
            weights = step_weights(kind, score, x, t, step_size, graph, schedule)
            close(weights[rows], truth[rows], rtol=1e-2, atol=1e-3)
            found += int(rows.sum())
    assert found > 5


def test_the_race_draws_in_proportion(seed: int) -> None:
    """Error rate 1e-4."""
    torch.manual_seed(seed)
    law = torch.tensor([0.5, 0.3, 0.0, 0.15, 0.05])
    assert chi_square(race(law.expand(20000, 5)), law.double()) > 1e-4


@pytest.mark.parametrize("name", ["absorb", "uniform"])
def test_samples_are_tokens(name: str, seed: int) -> None:
    """A network that knows the scores of independent tokens gives back their distribution. Error rate 1e-4."""
    torch.manual_seed(seed)
    p0 = torch.tensor([0.6, 0.3, 0.1])
    graph, noise = naive_of(name, 4 if name == "absorb" else 3)

    def exact(x: Tensor, sigma: Tensor) -> Tensor:
        kept = (-sigma)[:, None, None].exp()
        marginal = kept * torch.cat([p0, torch.zeros(graph.states - 3)])
        limit = torch.eye(graph.states)[-1] if graph.masked else torch.full((3,), 1 / 3)
        marginal = (marginal + (1 - kept) * limit).expand(*x.shape, -1)
        return (marginal / marginal.gather(-1, x[..., None])).log()

    drawn = draw(exact, graph, noise, batch=500, length=8, steps=32, device=torch.device("cpu"))  # pyright: ignore[reportArgumentType]
    assert chi_square(drawn, p0.double()) > 1e-4


def test_averages_are_ours(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    parameters = [torch.randn(3, generator=generator).requires_grad_() for _ in range(2)]
    ours, naive = EMA(parameters, 0.9999), NaiveEMA(parameters)
    for _ in range(3):
        for parameter in parameters:
            parameter.data.add_(torch.randn(3, generator=generator))
        ours.update()
        naive.update(parameters)
    for one, other in zip(ours.average, naive.average, strict=True):
        close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["absorb", "uniform"])
def test_losses_are_ours_in_float64(name: str, seed: int) -> None:
    """From one backbone, states and times: what the cases compare is the same computation."""
    work = head_work(name, "fp32", (3, 5), 8, 11, torch.device("cpu"), seed=seed % 2**32)
    work.both.model.double()
    objective, level = ScoreEntropy(), work.both.noise(work.t.double())
    ours = objective.integrand(work.both.model, work.x, level, Batch(work.tokens))
    naive = loss_of_batch(
        work.both.naive, work.both.naive_graph, work.both.naive_noise, work.tokens, work.t.double(), work.x
    )
    close(naive, ours, rtol=1e-8)
