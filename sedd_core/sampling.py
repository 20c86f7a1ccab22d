"""From scores to sequences: the model in time, the time grid, given tokens, and batches of samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from .draws import Draws
from .numerics import expand_to, float64_device
from .score import ScoreModel
from .stages import Graph, Noise, Sampler
from .stages.sampler import Given, TimedScore

Grid = Literal["uniform", "cosine", "equal"]
GivenNoise = Literal["same", "none"]


def timed_score(
    model: ScoreModel, noise: Noise, clean: Bool[Tensor, "B L"] | None = None, cond: Tensor | None = None
) -> TimedScore:
    """The model as a function of time instead of noise, under the condition of each sequence.

    Where `clean` is set it is told that there is no noise.
    """

    def score(
        x: Int64[Tensor, "B L"], t: Float64[Tensor, "..."], rows: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        sigma = noise(t).sigma
        if clean is not None:
            sigma = expand_to(sigma, x).masked_fill(clean, 0.0)
        return model(x, sigma, rows, cond)

    return score


def free_rows(score: TimedScore, given: Given) -> TimedScore:
    """The same score at the free positions; a given token cannot be another: log-score -inf, without being asked.

    The network sees the given tokens in their places, whatever x holds there.
    """

    def conditional(
        x: Int64[Tensor, "B L"], t: Float64[Tensor, "..."], rows: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        x = given.put_back(x)
        where = torch.ones_like(x, dtype=torch.bool) if rows is None else rows
        free = ~given.where[where]
        asked = score(x, t, where & ~given.where)
        log_score = asked.new_full((len(free), asked.shape[-1]), -math.inf).scatter(-1, x[where][:, None], 0.0)
        log_score[free] = asked
        return log_score.view(*x.shape, -1) if rows is None else log_score

    return conditional


def clamping_floor(graph: Graph) -> str | None:
    """Why given tokens that are only put back leave an error that no number of steps removes; None where they do not.

    They do not where noise never turns one token into another (absorb): a token in sight is then a clean one at any
    noise, and the scores know it.
    """
    tokens = torch.arange(graph.vocab_size, device=graph.prior_law().device)
    if not graph.active(tokens).any():
        return None
    return (
        "this graph turns tokens into other tokens, so the scores take given tokens for noised ones and heed them "
        "too little: samples do not tend to the conditional law, whatever the number of steps (docs/mathematics.md)"
    )


def time_grid(
    steps: int, t_min: float, grid: Grid = "uniform", noise: Noise | None = None, device: torch.device | str = "cpu"
) -> Float64[Tensor, " steps_and_one"]:
    """Times t_0 = 1 > t_1 > ... > t_N = t_min of N steps.

    uniform: equal distances, t_k = 1 - (1 - t_min) k / N.
    cosine: t_k = t_min + (1 - t_min) cos(pi k / 2N), which takes its time at the noisy end (the masking schedule of
    MaskGIT, arXiv 2202.04200, as a grid).
    equal: an equal probability of change a step, the steps of 1 - exp(-sigma(t_k)) being equal (this needs `noise`).
    With noise_loglinear that is uniform.
    """
    part = torch.arange(steps + 1, dtype=torch.float64, device=device) / steps
    if grid == "uniform":
        return torch.lerp(torch.ones_like(part), torch.full_like(part, t_min), part)
    if grid == "cosine":
        return t_min + (1 - t_min) * torch.cos(part * math.pi / 2)
    if noise is None:
        raise ValueError("the grid 'equal' follows the noise schedule, and needs it")
    ends = torch.tensor([1.0, t_min], dtype=torch.float64, device=device)
    first, last = -torch.expm1(-noise(ends).sigma)
    inside = noise.time(-torch.log1p(-torch.lerp(first, last, part[1:-1])))
    return torch.cat([ends[:1], inside, ends[1:]])


@torch.no_grad()
def sample(
    model: ScoreModel,
    noise: Noise,
    sampler: Sampler,
    *,
    count: int,
    length: int,
    steps: int,
    t_min: float,
    seed: int,
    batch_size: int,
    which: Int64[Tensor, " n"] | None = None,
    grid: Grid = "uniform",
    given: Given | None = None,
    given_noise: GivenNoise = "same",
    cond: Tensor | None = None,
    on_step: Callable[[Int64[Tensor, "B L"]], None] = lambda x: None,
) -> Int64[Tensor, "n L"]:
    """Draw `count` sequences. The i-th is a function of (seed, i), whatever the batch size.

    which: draw only these of them (a process's share).
    given: known tokens of all `count` sequences, kept through every step. given_noise: what the network is told of
    the noise at given positions: the "same" as elsewhere, or "none" (sigma 0, which is true). grid: see `time_grid`.
    cond: conditions of all `count` sequences, handed to the network.
    on_step sees each batch steps + 2 times: its first state, that after each step, and the result.
    """
    device = float64_device(next(model.parameters()).device)
    times = time_grid(steps, t_min, grid, noise, device)
    done: list[Tensor] = []
    for indices in (torch.arange(count) if which is None else which).split(batch_size):
        draws = Draws(seed, indices.to(device))
        condition = None if cond is None else cond[indices].to(device)
        score, known = timed_score(model, noise, cond=condition), None
        if given:
            known = Given(given.tokens[indices].to(device), given.where[indices].to(device))
            clean = known.where if given_noise == "none" else None
            score = free_rows(timed_score(model, noise, clean, condition), known)
        keep = known.put_back if known else lambda x: x  # outside of what a sampler overrides
        x = keep(model.graph.prior(draws, length))
        out = sampler.run(x, times, score, noise, model.graph, draws, known, lambda x, keep=keep: on_step(keep(x)))
        done.append(keep(out).cpu())
    return torch.cat(done) if done else torch.empty(0, length, dtype=torch.int64)
