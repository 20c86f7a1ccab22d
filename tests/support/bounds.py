"""Exact bounds of small problems."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import torch
from torch import Tensor

from sedd_core.evaluation import bound
from sedd_core.model.score import ScoreModel
from sedd_core.stages import Noise
from sedd_core.testing import Oracle
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
        entropy = model.score_entropy(x, x0.expand_as(x), level, model.graph.reachable(x, level), None)
        diffusion += weight * math.exp(log_sigma) * (law(math.exp(log_sigma)) * entropy).sum().item()
    level = noise(torch.full((len(x),), T_MIN, dtype=torch.float64))
    log_p = bound.log_denoised(model, x, x0.expand_as(x), level, torch.ones_like(x, dtype=torch.bool))
    reconstruction = -(law(low) * log_p).sum().item()
    prior = model.graph.prior_kl(x0, level_of(high)).sum().item()
    return torch.tensor([diffusion, reconstruction, prior])


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
            level = noise.at_sigma(held)
            entropy = model.score_entropy(x, x0.expand_as(x), level, model.graph.reachable(x, level), None)
            law = torch.exp(-sigma * (len(x0) - count)) * (-torch.expm1(-sigma)) ** count
            # c^ = expm1(sigma) s is what is held beyond the ends, and score entropy goes with c^ / expm1(sigma)
            total += (
                weight * math.exp(log_sigma) * (law * entropy * torch.expm1(held) / torch.expm1(sigma)).sum().item()
            )
        return total

    return torch.tensor([integrate(ends) for ends in [(low, high), (1e-12, low), (high, 60.0)]])


def held_tail(oracle: Oracle, sigma_end: float, nodes: int) -> Tensor:
    """The expected score entropy [N0] of exact scores held at sigma_end, integrated from there to infinity.

    Gauss-Legendre quadrature in v = exp(-(sigma - sigma_end) / 2) over (0, 1); sums over all noised sequences.
    """
    graph, end = oracle.graph, level_of(sigma_end)
    x = oracle.states.expand(len(oracle.clean), -1, -1)
    x0 = oracle.clean[:, None].expand_as(x)
    held = oracle.log_score(oracle.states, sigma_end).log_softmax(-1)
    total = torch.zeros_like(oracle.p0)
    for v, weight in gauss_legendre(nodes, 0.0, 1.0):
        level = level_of(sigma_end - 2 * math.log(v))
        probs = oracle.forward_distribution(level.sigma.item())
        score = graph.score_from_mean(held, oracle.states, level, end).expand(len(oracle.clean), -1, -1, -1)
        possible = (probs > 0)[..., None] & graph.reachable(x, level)
        entropy = torch.zeros(x.shape, dtype=torch.float64)
        entropy[possible] = graph.score_entropy(score[possible], level, x[possible], x0[possible])
        total += weight * 2 / v * (probs * entropy.sum(-1)).sum(-1)
    return total
