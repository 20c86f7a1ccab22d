"""Exact distributions on small state spaces, computed without random draws, in float64.

A joint distribution p0 over all V^L short sequences determines the distribution and the scores of the noised
sequences at any sigma. A factorized sampler maps a distribution over sequences to that after its step exactly.

Shapes: S states, V data tokens, length L, N = S^L sequences of states, N0 = V^L clean sequences.
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
from ..stages import FactorizedSampler, FixedTokens, Graph, Noise, NoiseLevel
from ..stages.sampler import ScoreFunction, denoising_distribution


class BoundTerms(NamedTuple):
    """Exact terms [N0] of the likelihood bound of each clean sequence, in nats per sequence."""

    diffusion: Float64[Tensor, " N0"]
    """Integral of the expected score entropy over sigma."""
    reconstruction: Float64[Tensor, " N0"]
    """Expected -log p(x0 | x) at the smallest sigma."""
    prior: Float64[Tensor, " N0"]
    """KL(q(. | x0) || marginal) at the largest sigma."""


class Oracle:
    """Exact marginals, scores, sampled distributions and bounds of one graph on one joint distribution.

    `states` [N, L] are all sequences, `clean` [N0, L] those of data tokens, both in the order of `itertools.product`;
    `p0` [N0] are the probabilities of `clean`.

    Args:
        graph: The forward process, of few states.
        noise: The noise schedule.
        joint: Probabilities [V, ..., V] of the clean sequences, with L axes.
    """

    def __init__(self, graph: Graph, noise: Noise, joint: Float64[Tensor, "..."]) -> None:
        self.graph, self.noise, self.joint = graph, noise, joint
        self.length = joint.ndim
        self.states = torch.tensor(list(product(range(graph.num_states), repeat=self.length)))
        self.clean = torch.tensor(list(product(range(graph.vocab_size), repeat=self.length)))
        self.p0 = joint.flatten()

    def index_of(self, x: Int64[Tensor, "... L"]) -> Int64[Tensor, "..."]:
        """Indices [...] of sequences x [..., L] in `states`."""
        strides = self.graph.num_states ** torch.arange(self.length - 1, -1, -1)
        return (x * strides).sum(-1)

    def marginal(self, sigma: float | Float64[Tensor, " L"]) -> Float64[Tensor, " N"]:
        """The distribution [N] of the noised sequences, over `states`.

        Every axis of the joint distribution is contracted with the kernel of its noise.

        Args:
            sigma: Total noise, one value or [L].
        """
        probs = self.joint
        for level in torch.as_tensor(sigma, dtype=torch.float64).expand(self.length).tolist():
            probs = probs.movedim(0, -1) @ self.kernel(level)
        return probs.flatten()

    def kernel(self, sigma: float) -> Float64[Tensor, "V S"]:
        """q_sigma(y | x0) [V, S] for every clean token x0 and state y."""
        return self.graph.transition(torch.arange(self.graph.vocab_size), level_of(sigma))

    def log_score(self, x: Int64[Tensor, "B L"], sigma: float | Float64[Tensor, " L"]) -> Float64[Tensor, "B L S"]:
        """Exact log-scores log p_sigma(x with x_i := y) / p_sigma(x).

        Args:
            x: States [B, L].
            sigma: Total noise, one value or [L].

        Returns:
            Log-scores [B, L, S]; 0 for sequences of probability 0.
        """
        probs = self.marginal(sigma)
        neighbors = x[:, None, None].repeat(1, self.length, self.graph.num_states, 1)
        for i in range(self.length):
            neighbors[:, i, :, i] = torch.arange(self.graph.num_states)
        current = probs[self.index_of(x)][:, None, None]
        ratio = torch.where(current > 0, probs[self.index_of(neighbors)] / current, 1.0)
        return ratio.log()

    def score_fn(self, clean: Bool[Tensor, " L"] | None = None) -> ScoreFunction:
        """The exact score function, for use in place of a model.

        Args:
            clean: Positions [L] that are always clean; None: none.
        """
        noisy = torch.ones(self.length, dtype=torch.float64) if clean is None else (~clean).double()

        def score(
            x: Int64[Tensor, "B L"], level: NoiseLevel, positions: Bool[Tensor, "B L"] | None = None
        ) -> Float64[Tensor, "... S"]:
            sigmas, which = (level.at(x).sigma * noisy).unique(dim=0, return_inverse=True)
            log_score = torch.empty(*x.shape, self.graph.num_states, dtype=torch.float64)
            for index, sigma in enumerate(sigmas):
                log_score[which == index] = self.log_score(x[which == index], sigma)
            return log_score if positions is None else log_score[positions]

        return score

    def conditional(self, fixed_tokens: FixedTokens) -> Float64[Tensor, " N0"]:
        """The distribution [N0] of clean sequences given fixed tokens [1, L]."""
        probs = self.p0 * (fixed_tokens.apply(self.clean) == self.clean).all(-1)
        return probs / probs.sum()

    def propagate(self, probs: Float64[Tensor, " N"], step_probs: Float64[Tensor, "N L S"]) -> Float64[Tensor, " N"]:
        """The distribution [N] after a step whose distribution at each sequence is a product over positions.

        Args:
            probs: Probabilities [N] of the sequences before the step.
            step_probs: Probabilities [N, L, S] of each position's next state, for each sequence before the step.
        """
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
        fixed_tokens: FixedTokens | None = None,
        fixed_token_noise: FixedTokenNoise = "same",
    ) -> Float64[Tensor, " N0"]:
        """The exact distribution of a sampler's output after all steps and the final denoising.

        Args:
            sampler: The sampler.
            steps: Number of sampling steps.
            t_min: Time at which the last step ends.
            grid: Kind of time grid: see `grid.time_grid`.
            fixed_tokens: Tokens [1, L] that are kept through every step; None: none.
            fixed_token_noise: Noise level that the scores assume at fixed tokens: "same" as elsewhere, or "none".

        Returns:
            Probabilities [N0], over `clean`.
        """
        fixed = fixed_tokens.positions[0] if fixed_tokens else torch.zeros(self.length, dtype=torch.bool)
        known = fixed_tokens.tokens[0] if fixed_tokens else fixed.long()
        one_hot = torch.nn.functional.one_hot(known, self.graph.num_states).double()

        def keep(probs: Float[Tensor, "... L S"]) -> Float[Tensor, "... L S"]:
            return torch.where(fixed[:, None], one_hot, probs)

        score_fn, count = self.score_fn(fixed if fixed_token_noise == "none" else None), len(self.states)
        prior = keep(self.graph.prior_law().expand(self.length, -1))
        probs = prior[torch.arange(self.length), self.states].prod(-1)
        levels = [self.noise(t.expand(count)) for t in time_grid(steps, t_min, grid, self.noise)]
        for level, level_next in pairwise(levels):
            step_probs = sampler.step_distribution(self.states, level, level_next, score_fn, self.graph)
            probs = self.propagate(probs, keep(step_probs))
        positions, denoised = denoising_distribution(self.states, levels[-1], score_fn, self.graph)
        final = torch.nn.functional.one_hot(self.states, self.graph.num_states).double()
        final[positions] = sampler.reweight_targets(denoised, self.states[positions])
        return self.propagate(probs, keep(final))[self.index_of(self.clean)]

    def bound(
        self, sigmas: tuple[float, float], nodes: int, *, masking: bool = False, factorized: bool = False
    ) -> BoundTerms:
        """The likelihood bound with exact scores, an exact sum over all noised sequences.

        The integral over sigma uses Gauss-Legendre quadrature. The prior term is against the exact marginal, so that
        the three terms sum to -log p0, unless `factorized` is set.

        Args:
            sigmas: Smallest and largest sigma of the integral; ignored with `masking`.
            nodes: Number of quadrature nodes, in log sigma.
            masking: Integrate over lambda = 1 - exp(-sigma) from 0 to 1 instead, where absorb's integrand is a
                polynomial of degree L - 1; the reconstruction and prior terms are then 0.
            factorized: Reconstruct each position by its own posterior, as a sampler's final denoising does, instead
                of jointly; the sum of the terms then exceeds -log p0 on average, by O(sigma_min^2).

        Source: SEDD, theorem 3.6.
        """
        diffusion = torch.zeros_like(self.p0)
        for sigma, weight in _lambda_nodes(nodes) if masking else log_nodes(nodes, *sigmas):
            diffusion += weight * self._entropy(sigma)
        if masking:
            return BoundTerms(diffusion, torch.zeros_like(diffusion), torch.zeros_like(diffusion))
        return BoundTerms(diffusion, self._reconstruction(sigmas[0], factorized), self._prior(sigmas[1]))

    def forward_distribution(self, sigma: float) -> Float64[Tensor, "N0 N"]:
        """q_sigma(x | x0) [N0, N] for every clean sequence x0 and sequence x of `states`."""
        kernel = self.kernel(sigma)
        return torch.stack([kernel[self.clean[:, i]][:, self.states[:, i]] for i in range(self.length)]).prod(0)

    def _entropy(self, sigma: float) -> Float64[Tensor, " N0"]:
        """Expected score entropy [N0] over x ~ q_sigma(. | x0), summed over positions."""
        level = level_of(sigma).at(torch.empty(len(self.clean), len(self.states), self.length))
        x = self.states.expand(len(self.clean), -1, -1)
        x0 = self.clean[:, None].expand_as(x)
        probs = self.forward_distribution(sigma)
        possible = (probs > 0)[..., None] & self.graph.reachable(x, level)
        score = self.log_score(self.states, sigma).expand(len(self.clean), -1, -1, -1)
        entropy = torch.zeros(x.shape, dtype=torch.float64)
        entropy[possible] = self.graph.score_entropy(score[possible], level.pick(possible), x[possible], x0[possible])
        return (probs * entropy.sum(-1)).sum(-1)

    def _reconstruction(self, sigma: float, factorized: bool) -> Float64[Tensor, " N0"]:
        """Expected -log p(x0 | x) [N0] over x ~ q_sigma(. | x0)."""
        probs = self.forward_distribution(sigma)
        if not factorized:
            posterior = self.p0[:, None] * probs / self.marginal(sigma)
            return -torch.xlogy(probs, torch.where(probs > 0, posterior, 1.0)).sum(-1)
        score = self.log_score(self.states, sigma).exp()
        posterior = self.graph.posterior(self.states, score, level_of(sigma), level_of(0.0))
        joint = torch.stack([posterior[:, i, self.clean[:, i]] for i in range(self.length)]).prod(0).T
        return -torch.xlogy(probs, joint).sum(-1)

    def _prior(self, sigma: float) -> Float64[Tensor, " N0"]:
        """KL(q_sigma(. | x0) || marginal at sigma) [N0]."""
        probs, marginal = self.forward_distribution(sigma), self.marginal(sigma)
        return torch.xlogy(probs, probs / marginal).nan_to_num(0.0).sum(-1)


def level_of(sigma: float) -> NoiseLevel:
    """The noise level of total noise sigma, of shape []."""
    return NoiseLevel.of_sigma(torch.tensor(sigma, dtype=torch.float64))


def log_nodes(nodes: int, low: float, high: float) -> list[tuple[float, float]]:
    """Quadrature nodes sigma and weights for an integral over sigma of a function smooth in log sigma."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    middle, half = (math.log(low) + math.log(high)) / 2, (math.log(high) - math.log(low)) / 2
    sigmas = np.exp(middle + half * points)
    return list(zip(sigmas.tolist(), (half * weights * sigmas).tolist(), strict=True))


def _lambda_nodes(nodes: int) -> list[tuple[float, float]]:
    """Quadrature nodes sigma and weights for an integral over (0, inf), in lambda = 1 - exp(-sigma)."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    masked = (points + 1) / 2
    return list(zip((-np.log1p(-masked)).tolist(), (weights / 2 / (1 - masked)).tolist(), strict=True))
