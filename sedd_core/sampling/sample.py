"""Sampling: batches of sequences from the prior to data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Int64
from torch import Tensor

from ..maths.draws import Draws
from ..maths.numerics import float64_device
from ..model.score import ScoreModel
from ..stages import Noise, NoiseLevel, Sampler
from ..stages.sampler import FixedTokens, ScoreFunction
from .blocks import in_blocks
from .caching import cached
from .conditioning import FixedTokenNoise, condition_on, score_function
from .grid import Grid, time_grid


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
    fixed_tokens: FixedTokens | None = None,
    fixed_token_noise: FixedTokenNoise = "same",
    cond: Tensor | None = None,
    cache: bool = False,
    guide: Callable[[ScoreFunction], ScoreFunction] = lambda score_fn: score_fn,
    documents: Int64[Tensor, "count L"] | None = None,
    on_step: Callable[[Int64[Tensor, "B L"]], None] = lambda x: None,
) -> Int64[Tensor, "n L"]:
    """Draw `count` sequences, on the CPU. The i-th is a function of (seed, i), for any batch size.

    Args:
        model: The score model.
        noise: The noise schedule.
        sampler: The sampler; it adds to its statistics.
        count: Number of sequences.
        length: Number L of tokens per sequence.
        steps: Number of sampling steps.
        t_min: Time at which the last step ends.
        seed: Random seed.
        batch_size: Sequences per network call.
        which: Indices of the sequences to draw; None: all.
        grid: Where in time the steps lie: see `grid.time_grid`.
        fixed_tokens: Tokens [count, L] that are kept through every step.
        fixed_token_noise: The noise level that the network is given at fixed tokens: "same" as elsewhere, or "none".
        cond: Conditions [count, ...] for the network.
        cache: Whether the network is called for changed sequences alone: see `caching.cached`.
        guide: Wrapper of the model's score function, such as `guidance.ClassifierGuidance`; fixed tokens are outside.
        documents: Document [count, L] of each position, for networks that keep them separate; None: one per sequence.
        on_step: Called with each batch steps + 2 times per block: first state, state after each step, result.
    """
    device, done = float64_device(next(model.parameters()).device), [torch.empty(0, length, dtype=torch.int64)]
    levels = noise(time_grid(steps, t_min, grid, noise, device))
    for indices in (torch.arange(count) if which is None else which).split(batch_size):
        draws, known, own, apart = _of_batch(seed, indices, device, fixed_tokens, cond, documents)
        run = partial(_run, sampler, levels, fixed_token_noise, own, apart, cache, guide)
        done.append(in_blocks(run, model, model.graph.prior(draws, length), draws, known, own, on_step).cpu())
    return torch.cat(done)


def _of_batch(
    seed: int,
    indices: Int64[Tensor, " B"],
    device: torch.device,
    fixed_tokens: FixedTokens | None,
    cond: Tensor | None,
    documents: Int64[Tensor, "count L"] | None,
) -> tuple[Draws, FixedTokens | None, Tensor | None, Tensor | None]:
    """Draws of the sequences with these indices, and what is given of them."""
    known = None if fixed_tokens is None else FixedTokens(*(part[indices].to(device) for part in fixed_tokens))
    apart = None if documents is None else documents[indices].to(device)
    return Draws(seed, indices.to(device)), known, None if cond is None else cond[indices], apart


def _run(
    sampler: Sampler,
    levels: NoiseLevel,
    fixed_token_noise: FixedTokenNoise,
    cond: Tensor | None,
    documents: Int64[Tensor, "B L"] | None,
    cache: bool,
    guide: Callable[[ScoreFunction], ScoreFunction],
    model: ScoreModel,
    prior: Int64[Tensor, "B L"],
    draws: Draws,
    known: FixedTokens | None,
    on_step: Callable[[Int64[Tensor, "B L"]], None],
) -> Int64[Tensor, "B L"]:
    """One batch, or one block of it, with the known tokens in place."""
    called = cached(model, sampler.stats) if cache else model
    score = _score_function(called, known, fixed_token_noise, cond, documents, guide)
    keep = known.apply if known else lambda x: x  # outside of what a sampler overrides
    return keep(sampler.run(keep(prior), levels, score, model.graph, draws, known, lambda x: on_step(keep(x))))


def _score_function(
    model: ScoreModel,
    known: FixedTokens | None,
    fixed_token_noise: FixedTokenNoise,
    cond: Tensor | None,
    documents: Int64[Tensor, "B L"] | None,
    guide: Callable[[ScoreFunction], ScoreFunction],
) -> ScoreFunction:
    """The model, conditioned on the known tokens of a batch."""
    cond = None if cond is None else cond.to(float64_device(next(model.parameters()).device))
    if known is None:
        return guide(score_function(model, cond=cond, documents=documents))
    clean = known.positions if fixed_token_noise == "none" else None
    return condition_on(guide(score_function(model, clean, cond, documents)), known)
