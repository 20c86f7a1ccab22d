"""Exact laws on small state spaces, without a single random draw.

A joint law p0 over all V^L short sequences determines the law, and the scores, of the noised sequences at any sigma;
and a sampler whose step is a product over positions maps a law over sequences to the next exactly. All in float64.
"""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from ..sampling.conditioning import FixedTokenNoise
from ..sampling.grid import Grid, time_grid
from ..stages import FactorizedSampler, FixedTokens, Graph, Noise
from ..stages.sampler import ScoreFunction, denoising_distribution


def random_joint(vocab_size: int, length: int, seed: int, concentration: float = 1.0) -> Float64[Tensor, "..."]:
    """A law over all sequences, of shape [V] * L: independent Gamma(concentration) weights, normalized."""
    weights = np.random.default_rng(seed).gamma(concentration, size=(vocab_size,) * length)
    return torch.from_numpy(weights / weights.sum())


def total_variation(p: Float64[Tensor, " N"], q: Float64[Tensor, " N"]) -> float:
    """Half the sum of absolute differences."""
    return (p - q).abs().sum().item() / 2


class BoundTerms(NamedTuple):
    """The exact terms of the likelihood bound of each clean sequence, in nats."""

    diffusion: Float64[Tensor, " N0"]
    reconstruction: Float64[Tensor, " N0"]
    prior: Float64[Tensor, " N0"]


class Oracle:
    """Everything about one graph on one joint law of shape [V] * L.

    Sequences are numbered as `itertools.product` goes: `states` [S^L, L] all of them, `clean` [V^L, L] those of data
    tokens, and `p0` [V^L] the law of these.
    """

    def __init__(self, graph: Graph, noise: Noise, joint: Float64[Tensor, "..."]) -> None:
        self.graph, self.noise, self.joint = graph, noise, joint
        self.length = joint.ndim
        self.states = torch.tensor(list(product(range(graph.num_states), repeat=self.length)))
        self.clean = torch.tensor(list(product(range(graph.vocab_size), repeat=self.length)))
        self.p0 = joint.flatten()

    def number(self, x: Int64[Tensor, "... L"]) -> Int64[Tensor, "..."]:
        """Where sequences stand among `states`."""
        places = self.graph.num_states ** torch.arange(self.length - 1, -1, -1)
        return (x * places).sum(-1)

    def marginal(self, sigma: float | Float64[Tensor, " L"]) -> Float64[Tensor, " N"]:
        """The law of the noised sequences, over `states`: every axis of p0 contracted with the kernel of its noise.

        sigma: one for all positions, or one for each.
        """
        probs = self.joint
        for level in torch.as_tensor(sigma, dtype=torch.float64).expand(self.length).tolist():
            probs = probs.movedim(0, -1) @ self.kernel(level)
        return probs.flatten()

    def kernel(self, sigma: float) -> Float64[Tensor, "V S"]:
        """q_sigma(y | x0) for every clean token."""
        return self.graph.transition(torch.arange(self.graph.vocab_size), torch.tensor(sigma, dtype=torch.float64))

    def log_score(self, x: Int64[Tensor, "B L"], sigma: float | Float64[Tensor, " L"]) -> Float64[Tensor, "B L S"]:
        """log p_sigma(x with x_i := y) / p_sigma(x), exact; 0 for sequences that cannot be."""
        probs = self.marginal(sigma)
        neighbors = x[:, None, None].repeat(1, self.length, self.graph.num_states, 1)
        for i in range(self.length):
            neighbors[:, i, :, i] = torch.arange(self.graph.num_states)
        here = probs[self.number(x)][:, None, None]
        ratio = torch.where(here > 0, probs[self.number(neighbors)] / here, 1.0)
        return ratio.log()

    def model(self, clean: Bool[Tensor, " L"] | None = None) -> ScoreFunction:
        """The exact score in the place of a network; it takes one time for a whole batch.

        clean: positions without noise, whatever the time is.
        """
        noisy = torch.ones(self.length, dtype=torch.float64) if clean is None else (~clean).double()

        def score(
            x: Int64[Tensor, "B L"], t: Float64[Tensor, "..."], positions: Bool[Tensor, "B L"] | None = None
        ) -> Float64[Tensor, "... S"]:
            (time,) = t.unique()
            log_score = self.log_score(x, self.noise(time).sigma * noisy)
            return log_score if positions is None else log_score[positions]

        return score

    def conditional(self, given: FixedTokens) -> Float64[Tensor, " N0"]:
        """The law of the clean sequences that hold the given tokens (a batch of one)."""
        probs = self.p0 * (given.apply(self.clean) == self.clean).all(-1)
        return probs / probs.sum()

    def propagate(self, probs: Float64[Tensor, " N"], step_probs: Float64[Tensor, "N L S"]) -> Float64[Tensor, " N"]:
        """The law after a step whose law at each sequence is a product over positions."""
        kernel = step_probs[:, 0]
        for i in range(1, self.length):
            kernel = (kernel[:, :, None] * step_probs[:, i, None, :]).flatten(1)
        return probs @ kernel

    def sampled(
        self,
        sampler: FactorizedSampler,
        steps: int,
        t_min: float = 1e-5,
        *,
        grid: Grid = "uniform",
        given: FixedTokens | None = None,
        fixed_token_noise: FixedTokenNoise = "same",
    ) -> Float64[Tensor, " N0"]:
        """The law of what a sampler draws in `steps` steps and the final denoising, over `clean`.

        given, given_noise: as for `sampling.sample`, a batch of one.
        """
        where = given.positions[0] if given else torch.zeros(self.length, dtype=torch.bool)
        kept = torch.nn.functional.one_hot(given.tokens[0] if given else where.long(), self.graph.num_states).double()

        def put_back(probs: Float[Tensor, "... L S"]) -> Float[Tensor, "... L S"]:
            return torch.where(where[:, None], kept, probs)

        model, count = self.model(where if fixed_token_noise == "none" else None), len(self.states)
        start = put_back(self.graph.prior_law().expand(self.length, -1))
        probs = start[torch.arange(self.length), self.states].prod(-1)
        times = time_grid(steps, t_min, grid, self.noise)
        for t, t_next in pairwise(times):
            moves = sampler.step_distribution(
                self.states, t.expand(count), t_next.expand(count), model, self.noise, self.graph
            )
            probs = self.propagate(probs, put_back(moves))
        positions, denoised = denoising_distribution(
            self.states, times[-1].expand(count), model, self.noise, self.graph
        )
        final = torch.nn.functional.one_hot(self.states, self.graph.num_states).double()
        final[positions] = sampler.reweight_targets(denoised, self.states[positions])
        return self.propagate(probs, put_back(final))[self.number(self.clean)]

    def bound(
        self, sigmas: tuple[float, float], nodes: int, *, masking: bool = False, factorized: bool = False
    ) -> BoundTerms:
        """The likelihood bound with exact scores, summed over all noised sequences.

        sigmas: the ends of the integral, by Gauss-Legendre quadrature with `nodes` nodes in log sigma. masking: take
        lambda = 1 - exp(-sigma) from 0 to 1 instead, where absorb's integrand is a polynomial of degree L - 1; then
        nothing is left to reconstruct or to be told by the prior. The prior term is against the exact marginal.
        factorized: reconstruct each position by its own posterior, as a sampler's last step does, instead of all
        together; then the sum is no longer -log p0 but above it, by O(sigma_min^2).
        """
        diffusion = torch.zeros_like(self.p0)
        for sigma, weight in _lambda_nodes(nodes) if masking else _log_nodes(nodes, *sigmas):
            diffusion += weight * self._entropy(sigma)
        if masking:
            return BoundTerms(diffusion, torch.zeros_like(diffusion), torch.zeros_like(diffusion))
        return BoundTerms(diffusion, self._reconstruction(sigmas[0], factorized), self._prior(sigmas[1]))

    def forward_distribution(self, sigma: float) -> Float64[Tensor, "N0 N"]:
        """q_sigma(x | x0) for every clean sequence."""
        kernel = self.kernel(sigma)
        return torch.stack([kernel[self.clean[:, i]][:, self.states[:, i]] for i in range(self.length)]).prod(0)

    def _entropy(self, sigma: float) -> Float64[Tensor, " N0"]:
        """E over x ~ q_sigma(. | x0) of the score entropy summed over positions."""
        level = torch.tensor(sigma, dtype=torch.float64)
        x = self.states.expand(len(self.clean), -1, -1)
        x0 = self.clean[:, None].expand_as(x)
        probs = self.forward_distribution(sigma)
        possible = (probs > 0)[..., None] & self.graph.reachable(x)
        score = self.log_score(self.states, sigma).expand(len(self.clean), -1, -1, -1)
        entropy = torch.zeros(x.shape, dtype=torch.float64)
        entropy[possible] = self.graph.score_entropy(score[possible], level, x[possible], x0[possible])
        return (probs * entropy.sum(-1)).sum(-1)

    def _reconstruction(self, sigma: float, factorized: bool) -> Float64[Tensor, " N0"]:
        """E of -log p(x0 | x at sigma)."""
        probs = self.forward_distribution(sigma)
        if not factorized:
            posterior = self.p0[:, None] * probs / self.marginal(sigma)
            return -torch.xlogy(probs, torch.where(probs > 0, posterior, 1.0)).sum(-1)
        level, zero = torch.tensor(sigma, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
        posterior = self.graph.posterior(self.states, self.log_score(self.states, sigma).exp(), level, zero)
        joint = torch.stack([posterior[:, i, self.clean[:, i]] for i in range(self.length)]).prod(0).T
        return -torch.xlogy(probs, joint).sum(-1)

    def _prior(self, sigma: float) -> Float64[Tensor, " N0"]:
        probs, marginal = self.forward_distribution(sigma), self.marginal(sigma)
        return torch.xlogy(probs, probs / marginal).nan_to_num(0.0).sum(-1)


def _log_nodes(nodes: int, low: float, high: float) -> list[tuple[float, float]]:
    """Sigmas and weights for an integral over sigma, smooth in its logarithm."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    middle, half = (math.log(low) + math.log(high)) / 2, (math.log(high) - math.log(low)) / 2
    sigmas = np.exp(middle + half * places)
    return list(zip(sigmas.tolist(), (half * weights * sigmas).tolist(), strict=True))


def _lambda_nodes(nodes: int) -> list[tuple[float, float]]:
    """Sigmas and weights for an integral over sigma in (0, inf), a polynomial in 1 - exp(-sigma) after d sigma."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    level = (places + 1) / 2
    return list(zip((-np.log1p(-level)).tolist(), (weights / 2 / (1 - level)).tolist(), strict=True))
