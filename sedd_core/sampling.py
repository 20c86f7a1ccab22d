"""From scores to sequences: the model in time, the time grid, and batches of samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from .draws import Draws
from .score import ScoreModel
from .stages import Noise, Sampler
from .stages.sampler import Given, TimedScore


def timed_score(model: ScoreModel, noise: Noise) -> TimedScore:
    """The model as a function of time instead of noise."""

    def score(
        x: Int64[Tensor, "B L"], t: Float64[Tensor, "..."], rows: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        return model(x, noise(t).sigma, rows)

    return score


def time_grid(steps: int, t_min: float) -> Float64[Tensor, " steps_and_one"]:
    """Times from 1 down to t_min at equal distances."""
    return torch.linspace(1.0, t_min, steps + 1, dtype=torch.float64)


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
    given: Given | None = None,
    on_step: Callable[[Int64[Tensor, "B L"]], None] = lambda x: None,
) -> Int64[Tensor, "count L"]:
    """Draw `count` sequences. The i-th is a function of (seed, i), whatever the batch size.

    given: known tokens of all `count` sequences, kept through every step.
    """
    device = next(model.parameters()).device
    times = time_grid(steps, t_min).to(device)
    done: list[Tensor] = []
    for indices in torch.arange(count).split(batch_size):
        draws = Draws(seed, indices.to(device))
        known = Given(given.tokens[indices].to(device), given.where[indices].to(device)) if given else None
        x = model.graph.prior(draws, length)
        done.append(sampler.run(x, times, timed_score(model, noise), noise, model.graph, draws, known, on_step).cpu())
    return torch.cat(done) if done else torch.empty(0, length, dtype=torch.int64)
