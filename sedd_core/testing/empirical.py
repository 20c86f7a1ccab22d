"""The empirical distribution of a sampler of any kind, against the exact distribution of a small problem."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ..maths.draws import Draws
from ..sampling.grid import time_grid
from ..stages import Graph, Noise, NoiseLevel, Sampler
from ..stages.sampler import ScoreFunction
from .distributions import random_joint, total_variation

SAMPLES = 10_000
"""Number of samples that `check_draws` draws."""
ERROR = 1e-6
"""Largest probability that `check_draws` rejects a correct sampler, and that it accepts an incorrect one."""


def exact_pair_score(graph: Graph, joint: Float64[Tensor, "V V"]) -> ScoreFunction:
    """The exact score function of pairs of tokens.

    Args:
        graph: The forward process.
        joint: Probabilities [V, V] of the pairs.

    Returns:
        A score function of pairs [B, 2], which supports a separate level for each sequence or position.
    """
    tokens = torch.arange(graph.vocab_size)

    def score(
        x: Int64[Tensor, "B 2"], level: NoiseLevel, positions: Bool[Tensor, "B 2"] | None = None
    ) -> Float64[Tensor, "... S"]:
        sigmas = level.at(x).sigma
        if (sigmas == sigmas[:1]).all():  # as in every step of a run: 30 times faster than to look for others
            sigmas, level_index = sigmas[:1], torch.zeros(len(x), dtype=torch.int64)
        else:
            sigmas, level_index = sigmas.unique_consecutive(dim=0, return_inverse=True)
        kernels = graph.transition(tokens.expand(*sigmas.shape, -1), NoiseLevel.of_sigma(sigmas))  # [levels, 2, V, S]
        probs = kernels[:, 0].mT @ joint @ kernels[:, 1]
        first, second = x.T
        neighbors = torch.stack([probs.mT[level_index, second], probs[level_index, first]], 1)
        current = probs[level_index, first, second][:, None, None]
        log_score = torch.where(current > 0, neighbors / current, 1.0).log()
        return log_score if positions is None else log_score[positions]

    return score


def check_draws(
    sampler: Sampler, graph: Graph, noise: Noise, *, steps: int = 64, seed: int = 0, bias: float = 0.02
) -> None:
    """Check that pairs of tokens drawn by a sampler of any kind have the right distribution.

    Two distributions are tested, both under exact scores: that of the states at noise 1, reached by `step`, and that
    of the samples of `run`. The empirical distribution of n samples over K pairs differs from the true one in total
    variation by at most sqrt((K - 1) / n) / 2 on average, and exceeds that by sqrt(log(1 / p) / 2n) with probability
    at most p (McDiarmid's inequality). With n = SAMPLES and p = ERROR / 2 for each distribution, a sampler within
    `bias` of both fails with probability at most 1e-6, and a sampler off by bias + .08 (for up to 25 pairs) passes
    with probability at most 1e-6.

    Args:
        sampler: The sampler.
        graph: A forward process of few states.
        noise: The noise schedule.
        steps: Number of sampling steps of the run; half as many lead to the states at noise 1.
        seed: Random seed.
        bias: Total variation allowed for the finite number of steps.

    Raises:
        AssertionError: A distribution is wrong, or the samples have the wrong shape or contain the mask.
    """
    joint, draws = random_joint(graph.vocab_size, 2, seed=2), Draws(seed, torch.arange(SAMPLES))
    score_fn, prior = exact_pair_score(graph, joint), graph.prior(draws, 2)
    one = torch.ones((), dtype=torch.float64)
    x, state = prior, sampler.init(prior, graph)
    levels = [noise(t.expand(SAMPLES)) for t in time_grid(steps // 2, noise.time(one).item())]
    for index, (level, level_next) in enumerate(pairwise(levels)):
        x = sampler.step(x, level, level_next, score_fn, graph, draws.at(index), state)
    kernel = graph.transition(torch.arange(graph.vocab_size), NoiseLevel.of_sigma(one))
    _check_distribution(x, kernel.mT @ joint @ kernel, bias, "states at noise 1")

    out = sampler.run(prior, noise(time_grid(steps, 1e-5)), score_fn, graph, draws)
    assert out.shape == prior.shape, f"samples have shape {tuple(out.shape)}, not {tuple(prior.shape)} of the prior"
    assert (out < graph.vocab_size).all(), "samples contain states that are not data tokens"
    _check_distribution(out, joint, bias, "samples")


def _check_distribution(x: Int64[Tensor, "B 2"], probs: Float64[Tensor, "S S"], bias: float, what: str) -> None:
    """Compare the empirical distribution of pairs with their probabilities."""
    counts = torch.bincount(x[:, 0] * len(probs) + x[:, 1], minlength=probs.numel())
    distance = total_variation(counts.double() / len(x), probs.flatten())
    chance = math.sqrt((probs.numel() - 1) / len(x)) / 2 + math.sqrt(-math.log(ERROR / 2) / 2 / len(x))
    assert distance <= bias + chance, (
        f"the distribution of {len(x)} {what} is off by {distance:.3f} in total variation; sampling error explains "
        f"at most {chance:.3f}, the finite number of steps {bias:.3f}. Check the formula of the step, and that no "
        "random numbers are used twice: each stage of a step needs its own draws.part(name)"
    )
