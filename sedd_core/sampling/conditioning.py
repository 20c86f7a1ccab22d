"""Score functions: the model with its conditions, and with fixed tokens."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..stages import Graph, NoiseLevel, ScoreNetwork
from ..stages.sampler import FixedTokens, ScoreFunction

FixedTokenNoise = Literal["same", "none"]


def score_function(
    model: ScoreNetwork,
    clean: Bool[Tensor, "B L"] | None = None,
    cond: Tensor | None = None,
    documents: Int64[Tensor, "B L"] | None = None,
) -> ScoreFunction:
    """The model with its conditions, as samplers call it.

    Args:
        model: The score model.
        clean: Positions [B, L] at which the network receives noise level 0; None: none.
        cond: Conditions [B, ...] of the sequences, for the network.
        documents: Document [B, L] of each position; None: each sequence is one document.
    """

    def score(
        x: Int64[Tensor, "B L"], level: NoiseLevel, positions: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        if clean is not None:
            level = level.at(x)
            level = level._replace(t=level.t.masked_fill(clean, 0.0), sigma=level.sigma.masked_fill(clean, 0.0))
        return model(x, level, positions, cond, documents)

    return score


def condition_on(score_fn: ScoreFunction, fixed_tokens: FixedTokens) -> ScoreFunction:
    """A score function under which fixed tokens cannot change: log-score -inf for all other states.

    `score_fn` receives states with the fixed tokens in place, and is evaluated only at free positions.
    """

    def conditional(
        x: Int64[Tensor, "B L"], level: NoiseLevel, positions: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        x = fixed_tokens.apply(x)
        selected = torch.ones_like(x, dtype=torch.bool) if positions is None else positions
        free = ~fixed_tokens.positions[selected]
        computed = score_fn(x, level, selected & ~fixed_tokens.positions)
        forbidden = computed.new_full((len(free), computed.shape[-1]), -math.inf)
        log_score = forbidden.scatter(-1, x[selected][:, None], 0.0)
        log_score[free] = computed
        return log_score.view(*x.shape, -1) if positions is None else log_score

    return conditional


def clamping_floor(graph: Graph) -> str | None:
    """The reason why clamping fixed tokens leaves an error at any number of steps, as a clause; None if it does not.

    It does not for graphs whose noise never turns a token into another token (absorb): an unmasked token is then
    clean at any noise level, and the scores account for it.
    """
    tokens = torch.arange(graph.vocab_size, device=graph.prior_law().device)
    if not graph.reachable(tokens, NoiseLevel.of_sigma(torch.ones((), device=tokens.device))).any():
        return None
    return (
        "this graph turns tokens into other tokens, so the scores treat fixed tokens as noised and underweight them: "
        "samples do not converge to the conditional distribution at any number of steps (docs/mathematics.md)"
    )
