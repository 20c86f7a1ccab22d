"""The model as a function of time, and what it is told of fixed tokens."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from ..maths.numerics import expand_to
from ..model.score import ScoreModel
from ..stages import Graph, Noise
from ..stages.sampler import FixedTokens, ScoreFunction

FixedTokenNoise = Literal["same", "none"]


def timed_score(
    model: ScoreModel, noise: Noise, clean: Bool[Tensor, "B L"] | None = None, cond: Tensor | None = None
) -> ScoreFunction:
    """The model as a function of time instead of noise, under the condition of each sequence.

    Where `clean` is set it is told that there is no noise.
    """

    def score(
        x: Int64[Tensor, "B L"], t: Float64[Tensor, "..."], positions: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        sigma = noise(t).sigma
        if clean is not None:
            sigma = expand_to(sigma, x).masked_fill(clean, 0.0)
        return model(x, sigma, positions, cond)

    return score


def condition_on(score: ScoreFunction, given: FixedTokens) -> ScoreFunction:
    """The same score at the free positions; a given token cannot be another: log-score -inf, without being asked.

    The network sees the given tokens in their places, whatever x holds there.
    """

    def conditional(
        x: Int64[Tensor, "B L"], t: Float64[Tensor, "..."], positions: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        x = given.apply(x)
        where = torch.ones_like(x, dtype=torch.bool) if positions is None else positions
        free = ~given.positions[where]
        asked = score(x, t, where & ~given.positions)
        log_score = asked.new_full((len(free), asked.shape[-1]), -math.inf).scatter(-1, x[where][:, None], 0.0)
        log_score[free] = asked
        return log_score.view(*x.shape, -1) if positions is None else log_score

    return conditional


def clamping_floor(graph: Graph) -> str | None:
    """Why given tokens that are only put back leave an error that no number of steps removes; None where they do not.

    They do not where noise never turns one token into another (absorb): a token in sight is then a clean one at any
    noise, and the scores know it.
    """
    tokens = torch.arange(graph.vocab_size, device=graph.prior_law().device)
    if not graph.reachable(tokens).any():
        return None
    return (
        "this graph turns tokens into other tokens, so the scores take given tokens for noised ones and heed them "
        "too little: samples do not tend to the conditional law, whatever the number of steps (docs/mathematics.md)"
    )
