"""Score functions: the model with its conditions, and with fixed tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..errors import UserError
from ..stages import ConditionalScoreFunction, FixedTokens, Graph, LazyScores, NoiseLevel, ScoreFunction, ScoreNetwork
from ..stages.scores import lazy_scores

FixedTokenNoise = Literal["same", "none"]


@dataclass(frozen=True)
class ModelScore:
    """The model with its conditions, as samplers call it."""

    model: ScoreNetwork
    clean: Bool[Tensor, "B L"] | None
    cond: Tensor | None
    documents: Int64[Tensor, "B L"] | None

    def __call__(
        self, x: Int64[Tensor, "B L"], level: NoiseLevel, positions: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        """See `ScoreFunction`."""
        return self.model(x, self._level(x, level), positions, self.cond, self.documents)

    def lazy(self, x: Int64[Tensor, "B L"], level: NoiseLevel, positions: Bool[Tensor, "B L"]) -> LazyScores:
        """See `LazyScoreFunction`."""
        return self.model.lazy(x, self._level(x, level), positions, self.cond, self.documents)

    def unconditional(self) -> ModelScore:
        """See `ConditionalScoreFunction`."""
        if self.cond is None:
            raise UserError(
                "Guidance needs a condition of the samples: set cond, or choose a sampler without guidance."
            )
        return replace(self, cond=None)

    def _level(self, x: Int64[Tensor, "B L"], level: NoiseLevel) -> NoiseLevel:
        if self.clean is None:
            return level
        level = level.at(x)
        return level._replace(t=level.t.masked_fill(self.clean, 0.0), sigma=level.sigma.masked_fill(self.clean, 0.0))


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
    return ModelScore(model, clean, cond, documents)


@dataclass(frozen=True)
class _Conditioned:
    """A score function under which fixed tokens cannot change."""

    score_fn: ScoreFunction
    fixed_tokens: FixedTokens

    def __call__(
        self, x: Int64[Tensor, "B L"], level: NoiseLevel, positions: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        x, fixed = self.fixed_tokens.apply(x), self.fixed_tokens.positions
        selected = torch.ones_like(x, dtype=torch.bool) if positions is None else positions
        free = ~fixed[selected]
        computed = self.score_fn(x, level, selected & ~fixed)
        forbidden = computed.new_full((len(free), computed.shape[-1]), -math.inf)
        log_score = forbidden.scatter(-1, x[selected][:, None], 0.0)
        log_score[free] = computed
        return log_score.view(*x.shape, -1) if positions is None else log_score

    def lazy(self, x: Int64[Tensor, "B L"], level: NoiseLevel, positions: Bool[Tensor, "B L"]) -> LazyScores:
        return lazy_scores(self.score_fn, self.fixed_tokens.apply(x), level, positions & ~self.fixed_tokens.positions)

    def unconditional(self) -> ScoreFunction:
        if not isinstance(self.score_fn, ConditionalScoreFunction):
            raise UserError("Guidance needs scores with and without a condition; these are of one kind alone.")
        return replace(self, score_fn=self.score_fn.unconditional())


def condition_on(score_fn: ScoreFunction, fixed_tokens: FixedTokens) -> ScoreFunction:
    """A score function under which fixed tokens cannot change: log-score -inf for all other states.

    `score_fn` receives states with the fixed tokens in place, and is evaluated only at free positions.
    """
    return _Conditioned(score_fn, fixed_tokens)


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
