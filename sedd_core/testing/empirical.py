"""The law of what a sampler draws, whatever its form, against the exact law of a tiny problem."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ..maths.draws import Draws
from ..maths.numerics import expand_to
from ..sampling.grid import time_grid
from ..stages import Graph, Noise, Sampler
from ..stages.sampler import ScoreFunction
from .oracle import random_joint, total_variation

SAMPLES = 10_000
ERROR = 1e-6
"""Probability at most that `check_draws` refuses a sampler whose law is right; and that it misses a wrong one."""


def exact_pair_score(graph: Graph, noise: Noise, joint: Float64[Tensor, "V V"]) -> ScoreFunction:
    """The exact log-score of pairs of tokens with law `joint`; each sequence or position may have its own time."""
    tokens = torch.arange(graph.vocab_size)

    def score(
        x: Int64[Tensor, "B 2"], t: Float64[Tensor, "..."], positions: Bool[Tensor, "B 2"] | None = None
    ) -> Float64[Tensor, "... S"]:
        levels, which = expand_to(noise(t).sigma, x).unique_consecutive(dim=0, return_inverse=True)
        kernels = graph.transition(tokens.expand(*levels.shape, -1), levels)  # [levels, 2, V, S]
        probs = kernels[:, 0].mT @ joint @ kernels[:, 1]
        first, second = x.T
        neighbors = torch.stack([probs.mT[which, second], probs[which, first]], 1)
        here = probs[which, first, second][:, None, None]
        log_score = torch.where(here > 0, neighbors / here, 1.0).log()
        return log_score if positions is None else log_score[positions]

    return score


def check_draws(
    sampler: Sampler, graph: Graph, noise: Noise, *, steps: int = 64, seed: int = 0, bias: float = 0.02
) -> None:
    """Pairs of tokens have the right law, whatever kind the sampler is: half-way by its `step`, at the end by `run`.

    Scores are exact. The empirical law of n samples over K pairs lies on average at most sqrt((K - 1) / n) / 2 from
    their law in total variation, and beyond that by sqrt(log(1 / p) / 2n) with probability at most p (McDiarmid's
    inequality). So with n = SAMPLES and p = ERROR / 2 for each of the two laws, a sampler within `bias` of both fails
    with probability at most 1e-6, and one that is off by bias + .08 (for up to 25 pairs) passes with at most that.

    Args:
        sampler: The sampler.
        graph: A process of few states.
        noise: The schedule.
        steps: Number of steps of the run; half as many lead to the middle, where the noise is 1.
        seed: Random seed.
        bias: Total variation allowed for the finite number of steps.
    """
    joint, draws = random_joint(graph.vocab_size, 2, seed=2), Draws(seed, torch.arange(SAMPLES))
    model, start = exact_pair_score(graph, noise, joint), graph.prior(draws, 2)
    one = torch.ones((), dtype=torch.float64)
    x = start
    for index, (t, t_next) in enumerate(pairwise(time_grid(steps // 2, noise.time(one).item()))):
        now, then = (time.expand(SAMPLES) for time in (t, t_next))
        x = sampler.step(x, now, then, model, noise, graph, draws.at(index))
    kernel = graph.transition(torch.arange(graph.vocab_size), one)
    _check_law(x, kernel.mT @ joint @ kernel, bias, "states at noise 1")

    out = sampler.run(start, time_grid(steps, 1e-5), model, noise, graph, draws)
    assert out.shape == start.shape, "samples keep their shape"
    assert (out < graph.vocab_size).all(), "samples are data tokens"
    _check_law(out, joint, bias, "samples")


def _check_law(x: Int64[Tensor, "B 2"], probs: Float64[Tensor, "S S"], bias: float, what: str) -> None:
    counts = torch.bincount(x[:, 0] * len(probs) + x[:, 1], minlength=probs.numel())
    distance = total_variation(counts.double() / len(x), probs.flatten())
    chance = math.sqrt((probs.numel() - 1) / len(x)) / 2 + math.sqrt(-math.log(ERROR / 2) / 2 / len(x))
    assert distance <= bias + chance, (
        f"the law of {len(x)} {what} is off by {distance:.3f} in total variation, of which chance explains "
        f"{chance:.3f}. If the formula is right, are the same random numbers drawn twice? Each stage of a step needs "
        "its own draws.part(name)"
    )
