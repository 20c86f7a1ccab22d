"""The graph stage: a forward process that corrupts each position of a sequence independently.

Notation: S states, sigma the total noise, Q the rate matrix per unit of sigma (Q(y -> x) the rate from y to x), x the
current and x0 the clean states, s(x)_y ~ p_sigma(y)/p_sigma(x) the concrete score with s(x)_x = 1, log-score its
logarithm. For states [B, L], a level has shape [B] or [B, L]; see `NoiseLevel.at`. Only its sigma is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from ..maths.categorical import categorical
from ..maths.draws import Draws
from . import dense
from .noise import NoiseLevel
from .step import EventWeights, StepWeights


class Graph(nn.Module, ABC):
    """Abstract factorized, length-preserving forward process.

    A subclass implements `transition`, `rate_into` and `prior_law`; all other methods are derived from them with
    dense [S, S] matrices, suitable for small S. `InterpolatingGraph` has closed forms. Rates may change with the
    noise level. `testing.check_graph` verifies that transitions compose and that rates are their derivative.

    Args:
        vocab_size: Number V of data tokens; they are the states 0 .. V-1.
        num_states: Number S of states.
        mask: The mask state, which is not a data token; None if there is none.

    Raises:
        ValueError: There are fewer than 2 states.
    """

    def __init__(self, *, vocab_size: int, num_states: int, mask: int | None = None) -> None:
        super().__init__()
        if num_states < 2:
            raise ValueError(f"vocab_size {vocab_size} gives {num_states} states: a process needs at least 2 states")
        self.vocab_size = vocab_size
        self.num_states = num_states
        self.mask = mask

    @abstractmethod
    def transition(
        self, x: Int64[Tensor, "*shape"], level: NoiseLevel, since: NoiseLevel | None = None
    ) -> Float64[Tensor, "*shape S"]:
        """q(y at `level` | x at `since`) over y: the distribution of a position that was in state x earlier.

        Args:
            x: States [...].
            level: Noise level, with the leading axes of x.
            since: Earlier noise level, with the leading axes of x; None: clean data.

        Returns:
            Probabilities [..., S]; rows sum to 1.
        """

    @abstractmethod
    def rate_into(self, x: Int64[Tensor, "*shape"], level: NoiseLevel) -> Float64[Tensor, "*shape S"]:
        """Rates Q(y -> x) over y [..., S] into states x [...], per unit of noise at a level.

        Returns:
            Rates; at y = x, minus the total rate out of x.
        """

    @abstractmethod
    def prior_law(self) -> Float64[Tensor, " S"]:
        """The distribution [S] that sampling starts from: the limit of the forward process."""

    def score_offset(self, x: Int64[Tensor, "*shape"], level: NoiseLevel) -> Float64[Tensor, "*shape"]:
        """A typical log-score [...] of states x [...] at a noise level, added to the logits by a scaled head.

        Raises:
            TypeError: The graph defines no score offset.
        """
        raise TypeError(f"{type(self).__name__} defines no score_offset: set head.scale_by_sigma=False")

    def reachable(self, x: Int64[Tensor, "*shape"], level: NoiseLevel) -> Bool[Tensor, "*shape"]:
        """Whether the process can enter each state x [...]; only there are scores learned and moves possible."""
        return (self.rate_into(x, level).scatter(-1, x[..., None], 0.0) > 0).any(-1)

    def prior(self, draws: Draws, length: int) -> Int64[Tensor, "B L"]:
        """Draw sequences [B, length] from `prior_law`."""
        uniform = draws.uniform("prior", length)
        probs = self.prior_law().expand(uniform.numel(), -1)
        return categorical(probs, uniform.flatten()).view(uniform.shape)

    def perturb(self, x0: Int64[Tensor, "B L"], level: NoiseLevel, draws: Draws) -> Int64[Tensor, "B L"]:
        """Draw noised states [B, L] from q(. | x0).

        Args:
            x0: Clean tokens [B, L].
            level: Noise level [B] or [B, L].
            draws: Uniform numbers.
        """
        uniform = draws.uniform("perturb", x0.shape[1])
        return categorical(self.transition(x0, level).flatten(0, 1), uniform.flatten()).view(x0.shape)

    def reverse_rate(
        self, x: Int64[Tensor, "*shape"], score: Float[Tensor, "*shape S"], level: NoiseLevel
    ) -> Float[Tensor, "*shape S"]:
        """Rates [..., S] of the reverse process out of x per unit of noise: Q(y -> x) s_y, minus their sum at y = x.

        Args:
            x: Current states [...].
            score: Scores [..., S].
            level: Noise level, with the leading axes of x.

        Source: SEDD, equation 4.
        """
        rate = (self.rate_into(x, level) * score).scatter(-1, x[..., None], 0.0)
        return rate.scatter(-1, x[..., None], -rate.sum(-1, keepdim=True))

    def posterior_weights(
        self,
        x: Int64[Tensor, "*shape"],
        score: Float[Tensor, "*shape S"],
        level: NoiseLevel,
        level_next: NoiseLevel,
    ) -> StepWeights:
        """Weights of one analytic (Tweedie) step down to `level_next`.

        With T the kernel from level_next to level: w_y = [(T^-1)^T s]_y T(y -> x), negative values clipped to 0;
        without clipping they sum to s_x. Memory: one kernel [S, S] at a time, per distinct pair of levels.

        Args:
            x: Current states [...].
            score: Scores [..., S], up to one factor per row, which its weights and their total share.
            level: Noise level before the step, with the leading axes of x.
            level_next: Noise level after the step.

        Source: SEDD, theorem 4.2.
        """
        values = dense.posterior_values(self, x, score, level, level_next)
        return StepWeights(values, score.gather(-1, x[..., None])[..., 0].double())

    def posterior_events(
        self,
        x: Int64[Tensor, "*shape"],
        own: Float64[Tensor, "*shape"],
        others: Float64[Tensor, "*shape"],
        level: NoiseLevel,
        level_next: NoiseLevel,
    ) -> EventWeights | None:
        """What `posterior_weights` weigh staying and leaving with, if it depends on the sum of other scores alone.

        Args:
            x: Current states [...].
            own: Scores of the current states [...].
            others: Sums [...] of the scores of all other states.
            level: Noise level before the step, with the leading axes of x.
            level_next: Noise level after the step.

        Returns:
            The weights, or None (the default): they depend on more than the sum.
        """
        return None

    def posterior(
        self,
        x: Int64[Tensor, "*shape"],
        score: Float[Tensor, "*shape S"],
        level: NoiseLevel,
        level_next: NoiseLevel,
    ) -> Float[Tensor, "*shape S"]:
        """The distribution [..., S] of one analytic step, exact for exact scores; see `posterior_weights`."""
        values, _ = self.posterior_weights(x, score, level, level_next)
        return values / values.sum(-1, keepdim=True)

    def score_entropy(
        self,
        log_score: Float[Tensor, "*shape S"],
        level: NoiseLevel,
        x: Int64[Tensor, "*shape"],
        x0: Int64[Tensor, "*shape"],
    ) -> Float64[Tensor, "*shape"]:
        """Denoising score entropy [...] in nats per unit of sigma: at least 0, and 0 at the true ratios.

            sum_{y != x} Q(y -> x) [s_y - r_y log s_y + r_y (log r_y - 1)],   r_y = q_sigma(y | x0) / q_sigma(x | x0)

        This is the dense form; absorb and uniform use `InterpolatingGraph.score_entropy`.

        Args:
            log_score: Log-scores [..., S]; the entry at y = x is ignored.
            level: Noise level, with the leading axes of x.
            x: Noised states [...].
            x0: Clean tokens [...].

        Source: SEDD, theorem 3.4.
        """
        return dense.score_entropy(self, log_score, level, x, x0)

    def prior_kl(self, x0: Int64[Tensor, "*shape"], level: NoiseLevel) -> Float64[Tensor, "*shape"]:
        """KL(q(. | x0) || prior) [...] of each position in nats: the prior term of the bound."""
        probs, prior = self.transition(x0, level), self.prior_law()
        return torch.where(probs > 0, torch.xlogy(probs, probs / prior), 0.0).sum(-1)

    def has_finite_prior(self, x0: Int64[Tensor, "*shape"], level: NoiseLevel) -> Bool[Tensor, "*shape"]:
        """Whether `prior_kl` is finite [...]: the prior excludes no state that x0 can be in at the level."""
        return self.prior_kl(x0, level).isfinite()

    def score_from_mean(
        self,
        log_mean: Float[Tensor, "*shape V"],
        x: Int64[Tensor, "*shape"],
        level: NoiseLevel,
        since: NoiseLevel | None = None,
    ) -> Float[Tensor, "*shape S"]:
        """Log-scores [..., S] of a mean x^ = p(x0_i | all other positions): s_y = (x^ T)_y / (x^ T)_x.

        Args:
            log_mean: Log-probabilities of the clean tokens [..., V]; with `since`, of the states [..., S] there.
            x: Current states [...].
            level: Noise level, with the leading axes of x.
            since: Noise level that the mean belongs to; None: clean data.
        """
        return dense.score_from_mean(self, log_mean, x, level, since)

    def other_scores_of_mean(self, x: Int64[Tensor, "*shape"], level: NoiseLevel) -> Float64[Tensor, "*shape"] | None:
        """Sums [...] of the scores of all states but x that `score_from_mean` gives, if they are those of every mean.

        Args:
            x: Reachable states [...].
            level: Noise level, with the leading axes of x.

        Returns:
            The sums, or None (the default): they depend on the mean.
        """
        return None

    def mean_from_score(
        self, score: Float[Tensor, "*shape S"], x: Int64[Tensor, "*shape"], level: NoiseLevel
    ) -> Float[Tensor, "*shape V"]:
        """Means [..., V] of scores, the inverse of `score_from_mean`; negative values are clipped to 0.

        Args:
            score: Scores [..., S], up to one factor per row.
            x: Current states [...].
            level: Noise level, with the leading axes of x.
        """
        mean = dense.mean_from_score(self, score, x, level)[..., : self.vocab_size]
        return mean / mean.sum(-1, keepdim=True)
