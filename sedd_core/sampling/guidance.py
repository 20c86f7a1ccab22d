"""Classifier guidance: scores moved towards what a classifier of noised sequences recognizes (D-CBG)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot

from ..stages import NoiseLevel, ScoreFunction

LogProb = Callable[[Float[Tensor, "B L S"], NoiseLevel], Float[Tensor, " B"]]


@dataclass(frozen=True)
class ClassifierGuidance:
    """Scores s_y (p(c | x with x_i := y) / p(c | x))^gamma: with gamma 1 and an exact classifier, those given c.

    It wraps a score function: `sample(..., guide=lambda score_fn: ClassifierGuidance(score_fn, log_prob))`.

    Source: Schiff et al. (arXiv 2412.10193), of a step's posterior; Nisonoff et al. (arXiv 2406.01572), of rates.
    """

    score_fn: ScoreFunction
    """Scores without the condition."""
    log_prob: LogProb
    """Classifier: log p(c | x) [B] of states x, as one-hot rows [B, L, S], at a noise level."""
    gamma: float = 1.0
    """Strength of guidance."""
    first_order: bool = True
    """Whether the ratios are those of the first-order expansion in the one-hot rows: one gradient in place of one
    classifier call for every position and state."""

    def __call__(
        self, x: Int64[Tensor, "B L"], level: NoiseLevel, positions: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        """See `ScoreFunction`."""
        log_score = self.score_fn(x, level, positions)
        ratio = (self._expanded if self.first_order else self._exact)(x, level, log_score.shape[-1])
        ratio = ratio if positions is None else ratio[positions]
        return log_score + (self.gamma * ratio).to(log_score.dtype)

    def _expanded(self, x: Int64[Tensor, "B L"], level: NoiseLevel, states: int) -> Float[Tensor, "B L S"]:
        """log p(c | x with x_i := y) - log p(c | x) to first order."""
        with torch.enable_grad():
            rows = one_hot(x, states).to(torch.get_default_dtype()).requires_grad_()
            (slope,) = torch.autograd.grad(self.log_prob(rows, level).sum(), rows)
        return slope - slope.gather(-1, x[..., None])

    def _exact(self, x: Int64[Tensor, "B L"], level: NoiseLevel, states: int) -> Float[Tensor, "B L S"]:
        """The same from the classifier's values at all neighbors."""
        rows = one_hot(x, states).to(torch.get_default_dtype())
        ratio = torch.stack([rows.new_zeros(x.shape)] * states, -1)
        for i in range(x.shape[1]):
            for y in range(states):
                neighbor = rows.clone()
                neighbor[:, i] = one_hot(torch.tensor(y, device=x.device), states).to(rows.dtype)
                ratio[:, i, y] = self.log_prob(neighbor, level) - self.log_prob(rows, level)
        return ratio
