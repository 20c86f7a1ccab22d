"""Exact bounds of small problems."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import torch
from torch import Tensor

from sedd_core.evaluation import bound
from sedd_core.evaluation.integrand import model_entropy
from sedd_core.model.score import ScoreModel
from sedd_core.stages import Noise
from tests.support.graphs import level_of

T_MIN = 1e-3


def gauss_legendre(nodes: int, low: float, high: float) -> list[tuple[float, float]]:
    places, weights = np.polynomial.legendre.leggauss(nodes)
    middle, half = (low + high) / 2, (high - low) / 2
    return [(middle + half * p, half * w) for p, w in zip(places, weights, strict=True)]


@torch.no_grad()
def exact_uniform(model: ScoreModel, noise: Noise, x0: Tensor) -> Tensor:
    """The three terms of one sequence: all states, quadrature in log sigma."""
    low, high = noise(torch.tensor([T_MIN, 1.0])).sigma.tolist()
    states = range(model.graph.num_states)
    x = torch.tensor(list(product(states, repeat=len(x0))))

    def law(sigma: float) -> Tensor:
        rows = model.graph.transition(x0, level_of(sigma))
        return torch.stack([rows[i, x[:, i]] for i in range(len(x0))]).prod(0)

    diffusion = 0.0
    for log_sigma, weight in gauss_legendre(40, math.log(low), math.log(high)):
        level = noise.at_sigma(torch.full((len(x),), math.exp(log_sigma), dtype=torch.float64))
        entropy = model_entropy(model, x, x0.expand_as(x), level, model.graph.reachable(x, level), None)
        diffusion += weight * math.exp(log_sigma) * (law(math.exp(log_sigma)) * entropy).sum().item()
    level = noise(torch.full((len(x),), T_MIN, dtype=torch.float64))
    log_p = bound.log_denoised(model, x, x0.expand_as(x), level, torch.ones_like(x, dtype=torch.bool))
    reconstruction = -(law(low) * log_p).sum().item()
    prior = model.graph.prior_kl(x0, level_of(high)).sum().item()
    return torch.tensor([diffusion, reconstruction, prior])
