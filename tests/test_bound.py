"""The estimator of the likelihood bound against sums over everything, for a rough network."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sedd_core import bound, load_model
from sedd_core.bound import model_entropy, terms
from sedd_core.draws import Draws
from sedd_core.score import ScoreModel
from sedd_core.stages import Batch, Noise

GOLDEN = Path(__file__).parent / "golden" / "models"
T_MIN = 1e-3


def gauss_legendre(nodes: int, low: float, high: float) -> list[tuple[float, float]]:
    places, weights = np.polynomial.legendre.leggauss(nodes)
    middle, half = (low + high) / 2, (high - low) / 2
    return [(middle + half * p, half * w) for p, w in zip(places, weights, strict=True)]


@torch.no_grad()
def exact_absorb(model: ScoreModel, noise: Noise, x0: Tensor) -> Tensor:
    """Diffusion, reconstruction and prior terms of one sequence: all masks, quadrature in log sigma."""
    low, high = noise(torch.tensor([T_MIN, 1.0])).sigma.tolist()
    masks = torch.tensor(list(product([False, True], repeat=len(x0))))
    x = torch.where(masks, model.graph.mask, x0)
    count = masks.sum(-1)

    def integrate(bounds: tuple[float, float]) -> float:
        total = 0.0
        for log_sigma, weight in gauss_legendre(80, math.log(bounds[0]), math.log(bounds[1])):
            sigma = torch.full((len(x),), math.exp(log_sigma), dtype=torch.float64)
            held = sigma.clamp(low, high)
            entropy = model_entropy(model, x, x0.expand_as(x), held, model.graph.active(x), None)
            law = torch.exp(-sigma * (len(x0) - count)) * (-torch.expm1(-sigma)) ** count
            # c^ = expm1(sigma) s is what is held beyond the ends, and score entropy goes with c^ / expm1(sigma)
            total += (
                weight * math.exp(log_sigma) * (law * entropy * torch.expm1(held) / torch.expm1(sigma)).sum().item()
            )
        return total

    return torch.tensor([integrate(ends) for ends in [(low, high), (1e-12, low), (high, 60.0)]])


@torch.no_grad()
def exact_uniform(model: ScoreModel, noise: Noise, x0: Tensor) -> Tensor:
    """The three terms of one sequence: all states, quadrature in log sigma."""
    low, high = noise(torch.tensor([T_MIN, 1.0])).sigma.tolist()
    states = range(model.graph.num_states)
    x = torch.tensor(list(product(states, repeat=len(x0))))

    def law(sigma: float) -> Tensor:
        rows = model.graph.transition(x0, torch.tensor(sigma, dtype=torch.float64))
        return torch.stack([rows[i, x[:, i]] for i in range(len(x0))]).prod(0)

    diffusion = 0.0
    for log_sigma, weight in gauss_legendre(40, math.log(low), math.log(high)):
        sigma = torch.full((len(x),), math.exp(log_sigma), dtype=torch.float64)
        entropy = model_entropy(model, x, x0.expand_as(x), sigma, model.graph.active(x), None)
        diffusion += weight * math.exp(log_sigma) * (law(math.exp(log_sigma)) * entropy).sum().item()
    log_p = bound.log_denoised(model, noise, x, x0.expand_as(x), T_MIN, torch.ones_like(x, dtype=torch.bool))
    reconstruction = -(law(low) * log_p).sum().item()
    prior = model.graph.prior_kl(x0, torch.tensor(high, dtype=torch.float64)).sum().item()
    return torch.tensor([diffusion, reconstruction, prior])


def estimated(model: ScoreModel, noise: Noise, x0: Tensor, seed: int, points: int) -> tuple[Tensor, Tensor]:
    """Mean and standard error of each term over many copies of one sequence."""
    copies = 4000 // points
    batch, draws = Batch(x0.expand(copies, -1)), Draws(seed, torch.arange(copies))
    parts = torch.stack(terms(model, noise, batch, draws, points=points, t_min=T_MIN))
    return parts.mean(-1), parts.std(-1) / math.sqrt(copies)


def check(value: Tensor, error: Tensor, truth: Tensor) -> None:
    """Within 4.5 standard errors (family-wise error under 1e-4), which are small enough to say something."""
    assert (value - truth).abs().le(4.5 * error + 1e-9).all(), f"{value} ± {error}, not {truth}"
    assert error.sum() < 0.15 * truth.sum()


CASES: list[tuple[str, Callable[[ScoreModel, Noise, Tensor], Tensor]]] = [
    ("absorb_scaled", exact_absorb),
    ("uniform", exact_uniform),
]


@pytest.mark.parametrize(("name", "exact"), CASES, ids=["absorb", "uniform"])
@pytest.mark.parametrize("points", [1, 8])
def test_terms_are_unbiased(name: str, exact: Callable[..., Tensor], points: int, seed: int) -> None:
    model, _, noise = load_model(GOLDEN / name)
    x0 = torch.tensor([3, 17])
    value, error = estimated(model, noise, x0, seed, points)
    truth = exact(model, noise, x0)
    check(value, error, truth)
    with pytest.raises(AssertionError):  # one term left out, or a factor
        check(value, error, truth * torch.tensor([1.5, 1.0, 1.0]))


@pytest.mark.parametrize("name", ["absorb_scaled", "uniform"])
def test_more_points_mean_less_variance(name: str, seed: int) -> None:
    model, _, noise = load_model(GOLDEN / name)
    x0 = torch.tensor([3, 17, 2, 2, 40, 9, 1, 30])
    (_, one), (_, eight) = (estimated(model, noise, x0, seed, points) for points in (1, 8))
    assert eight[0] < one[0]  # at equal numbers of network calls


def test_padding_does_not_count(seed: int) -> None:
    model, _, noise = load_model(GOLDEN / "absorb_scaled")
    x0, draws = torch.tensor([[3, 17, 5, 8]]).expand(50, -1), Draws(seed, torch.arange(50))
    counts = torch.tensor([True, False, True, False]).expand(50, -1)
    parts = [terms(model, noise, Batch(x0, c), draws, points=2, t_min=T_MIN) for c in (counts, ~counts)]
    whole = terms(model, noise, Batch(x0), draws, points=2, t_min=T_MIN)
    torch.testing.assert_close(parts[0].diffusion + parts[1].diffusion, whole.diffusion, rtol=1e-5, atol=1e-6)
