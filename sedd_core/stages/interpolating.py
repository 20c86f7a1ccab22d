"""Processes that interpolate between the data and a distribution pi: absorb, uniform, and mixtures of them.

A position is replaced at rate 1 per unit of noise. Between noise levels a and b it is kept with probability
e = exp(-(b - a)); else its state is drawn from the mixture pi_ab: the one-token kernel is e I + (1 - e) 1 pi_ab^T.
Notation: pi_sigma the mixture since clean data, rho_sigma the mixture at a level since that same level (the
distribution of the states entered there, hence the rate into each state), alpha = exp(-sigma), beta = 1 - alpha.
If the mixture is constant, all three are pi. Every method has a closed form (docs/mathematics.md).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from ..maths.draws import Draws
from ..maths.numerics import expand_to, log1mexp
from .entropy import Coefficients, coefficients, score_entropy
from .graph import Graph
from .mixtures import check_components, draw, spans
from .noise import NoiseLevel
from .overrides import of_one_class
from .posterior import posterior_events, posterior_weights
from .step import EventWeights, StepWeights


class InterpolatingGraph(Graph):
    """Forward process that replaces positions by draws from a mixture: constant, pi, unless its weights are overridden.

    Args:
        pi: The limit distribution [S] of the process, in float64; its values are not checked on the meta device.
        vocab_size: Number V of data tokens.
        mask: The mask state, which is not a data token; None if there is none.
        components: Distributions [K, S] in float64, of which at most one is positive at each state; `mixture_weights`
            mixes them. None: pi alone.

    Raises:
        ValueError: pi or a component is not a distribution, components overlap, or there are fewer than 2 states.
    """

    pi: Tensor
    components: Tensor

    def __init__(
        self,
        pi: Float64[Tensor, " S"],
        *,
        vocab_size: int,
        mask: int | None = None,
        components: Float64[Tensor, "K S"] | None = None,
    ) -> None:
        super().__init__(vocab_size=vocab_size, num_states=len(pi), mask=mask)
        components = pi[None] if components is None else components
        check_components(pi, components)
        self.register_buffer("pi", pi, persistent=False)
        self.register_buffer("components", components, persistent=False)
        self.spans = spans(components)

    def prior_law(self) -> Float64[Tensor, " S"]:
        """pi."""
        return self.pi

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "mixture" in vars(cls):
            raise TypeError(f"{cls.__name__} overrides mixture: give its components, and override mixture_weights")

    def mixture_weights(self, level: NoiseLevel, since: NoiseLevel | None = None) -> Float64[Tensor, "*shape K"]:
        """Weights of the components in pi_ab, the distribution of a state that was replaced between two noise levels.

        An override must compose: e_bc (1 - e_ab) pi_ab + (1 - e_bc) pi_bc = (1 - e_ac) pi_ac.

        Args:
            level: Noise level b [...].
            since: Noise level a [...], up to and including b, where the mixture is its limit rho; None: clean data.

        Returns:
            Weights [..., K], which sum to 1.
        """
        return torch.ones_like(level.sigma, dtype=torch.float64)[..., None]

    def mixture(self, level: NoiseLevel, since: NoiseLevel | None = None) -> Float64[Tensor, "..."]:
        """pi_ab: [S] if it is the same at all levels, else one distribution per level [..., S]."""
        return self.pi if self.is_constant else self.mixture_weights(level, since) @ self.components

    @property
    def is_constant(self) -> bool:
        """Whether the mixture is pi at all levels."""
        return type(self).mixture_weights is InterpolatingGraph.mixture_weights

    def transition(
        self, x: Int64[Tensor, "*shape"], level: NoiseLevel, since: NoiseLevel | None = None
    ) -> Float64[Tensor, "*shape S"]:
        """e 1{y = x} + (1 - e) pi_ab(y)."""
        level, since = level.at(x), None if since is None else since.at(x)
        elapsed = level.elapsed(since)[..., None]
        stay = torch.zeros(*x.shape, self.num_states, dtype=torch.float64, device=x.device)
        moved = torch.expm1(-elapsed) * self.mixture(level, since)
        return stay.scatter(-1, x[..., None], torch.exp(-elapsed)) - moved

    def rate_into(self, x: Int64[Tensor, "*shape"], level: NoiseLevel) -> Float64[Tensor, "*shape S"]:
        """rho_x from every y != x; rho_x - 1 at y = x."""
        rate = self._entry_rate(x, level)[..., None]
        return rate.expand(*x.shape, self.num_states).scatter(-1, x[..., None], rate - 1.0)

    def reachable(self, x: Int64[Tensor, "*shape"], level: NoiseLevel) -> Bool[Tensor, "*shape"]:
        """rho_x > 0."""
        return self._entry_rate(x, level) > 0

    def score_offset(self, x: Int64[Tensor, "*shape"], level: NoiseLevel) -> Float64[Tensor, "*shape"]:
        """Log of the mean score over y != x, assuming that x is the clean token (or any token, if x is the mask).

        log[(1 - q_x) / ((S - 1) q_x)] with q_x = alpha 1{x is a token} + beta pi_x. For uniform this is
        log[expm1(sigma) / (expm1(sigma) + S)], the log-scores of a clean token; for absorb at a mask it is the
        published - log expm1(sigma) - log V.
        """
        level = level.at(x)
        sigma, pi_x = level.elapsed(None), self.entries(x, level)
        alpha, beta = torch.exp(-sigma), -torch.expm1(-sigma)
        is_token = x < self.vocab_size if self.mask is None else x != self.mask
        elsewhere = torch.where(is_token, log1mexp(sigma) + torch.log1p(-pi_x), torch.log(alpha + beta * (1 - pi_x)))
        log_q_x = torch.log(torch.where(is_token, alpha, 0.0) + beta * pi_x)
        return elsewhere - log_q_x - math.log(self.num_states - 1)

    def prior(self, draws: Draws, length: int) -> Int64[Tensor, "B L"]:
        """Draw sequences [B, length] from pi."""
        return draw(self.pi, draws.uniform("prior", length))

    def perturb(self, x0: Int64[Tensor, "B L"], level: NoiseLevel, draws: Draws) -> Int64[Tensor, "B L"]:
        """Replace each token with probability beta by a draw from the mixture, which may be the same token."""
        replaced = draws.uniform("perturb", x0.shape[1]) < -torch.expm1(-level.at(x0).elapsed(None))
        return torch.where(replaced, draw(self.mixture(level), draws.uniform("replace", x0.shape[1])), x0)

    def reverse_rate(
        self, x: Int64[Tensor, "*shape"], score: Float[Tensor, "*shape S"], level: NoiseLevel
    ) -> Float[Tensor, "*shape S"]:
        """rho_x s_y for y != x, minus their sum at y = x, in the dtype of `score`."""
        rho_x = self._entry_rate(x, level)[..., None].to(score.dtype)
        rate = (rho_x * score).scatter(-1, x[..., None], 0.0)
        return rate.scatter(-1, x[..., None], -rate.sum(-1, keepdim=True))

    def posterior_weights(
        self,
        x: Int64[Tensor, "*shape"],
        score: Float[Tensor, "*shape S"],
        level: NoiseLevel,
        level_next: NoiseLevel,
    ) -> StepWeights:
        """With e and pi_ab between the two levels, and the total score S = sum_y s_y:

            w_y = [s_y - (1 - e) pi_ab(y) S]_+ [e 1{y = x} + (1 - e) pi_ab(x)]

        which sum to e s_x without clipping. No exponential has a positive argument, so nothing overflows.
        """
        return posterior_weights(self, x, score, level, level_next)

    def posterior_events(
        self,
        x: Int64[Tensor, "*shape"],
        own: Float64[Tensor, "*shape"],
        others: Float64[Tensor, "*shape"],
        level: NoiseLevel,
        level_next: NoiseLevel,
    ) -> EventWeights | None:
        """In closed form if noise enters one state alone: then the positive part is linear off it."""
        closed = self.enters_one_state and of_one_class(self, "posterior_weights", "posterior_events")
        return posterior_events(self, x, own, others, level, level_next) if closed else None

    @property
    def enters_one_state(self) -> bool:
        """Whether noise enters one state alone, at all levels."""
        return self.is_constant and self.spans[1] - self.spans[0] == 1

    def other_scores_of_mean(self, x: Int64[Tensor, "*shape"], level: NoiseLevel) -> Float64[Tensor, "*shape"] | None:
        """alpha / (1 - alpha) at the one state that noise enters, if it is the mask, where no mean has weight."""
        agree = of_one_class(self, "score_from_mean", "other_scores_of_mean")
        known = agree and self.enters_one_state and self.spans[0] == self.mask
        return 1 / torch.expm1(level.at(x).elapsed(None)) if known else None

    def score_from_mean(
        self,
        log_mean: Float[Tensor, "*shape V"],
        x: Int64[Tensor, "*shape"],
        level: NoiseLevel,
        since: NoiseLevel | None = None,
    ) -> Float[Tensor, "*shape S"]:
        """log s_y = log(e x^_y + (1 - e) pi_ab(y)) minus its value at y = x, in the dtype of `log_mean`."""
        level, since = level.at(x), None if since is None else since.at(x)
        elapsed, pi = level.elapsed(since)[..., None], self.mixture(level, since).log()
        kept = (log_mean.double() - elapsed).to(log_mean.dtype)
        kept = nn.functional.pad(kept, (0, self.num_states - kept.shape[-1]), value=-math.inf)
        log_probs = torch.logaddexp(kept, (log1mexp(elapsed) + pi).to(log_mean.dtype))
        return log_probs - log_probs.gather(-1, x[..., None])

    def mean_from_score(
        self, score: Float[Tensor, "*shape S"], x: Int64[Tensor, "*shape"], level: NoiseLevel
    ) -> Float[Tensor, "*shape V"]:
        """x^_y proportional to [s_y - beta pi_y S]_+ with the total score S."""
        replaced = -torch.expm1(-level.at(x).elapsed(None)) * score.sum(-1, dtype=torch.float64)
        mean = (score - replaced[..., None] * self.mixture(level.at(x))).clamp(min=0)[..., : self.vocab_size]
        return mean / mean.sum(-1, keepdim=True)

    def coefficients(self, level: NoiseLevel, x: Int64[Tensor, "*shape"], x0: Int64[Tensor, "*shape"]) -> Coefficients:
        """A, B, C, D of the score entropy; see `stages.entropy`."""
        return coefficients(self, level, x, x0)

    def score_entropy(
        self,
        log_score: Float[Tensor, "*shape S"],
        level: NoiseLevel,
        x: Int64[Tensor, "*shape"],
        x0: Int64[Tensor, "*shape"],
    ) -> Float64[Tensor, "*shape"]:
        """`Graph.score_entropy` from its coefficients, with u the log-score:

        A sum_{y != x} exp(u_y) - B sum_{y != x} pi_y u_y - C u_x0 + D
        """
        return score_entropy(self, log_score, level, x, x0)

    def prior_kl(self, x0: Int64[Tensor, "*shape"], level: NoiseLevel) -> Float64[Tensor, "*shape"]:
        """(alpha + beta pi_x0) log1p(alpha (1 - pi_x0) / pi_x0) + beta (1 - pi_x0) log beta; inf where pi_x0 = 0.

        This is for a constant mixture; for others, the sum over all states.
        """
        if not self.is_constant:
            return super().prior_kl(x0, level)
        sigma = level.at(x0).elapsed(None)
        alpha, beta, pi = torch.exp(-sigma), -torch.expm1(-sigma), self.pi[x0]
        q_x0 = alpha + beta * pi
        kept = torch.where(q_x0 > 0, q_x0 * torch.log1p(alpha * (1 - pi) / pi), 0.0)
        return kept + torch.xlogy(beta * (1 - pi), beta)

    def has_finite_prior(self, x0: Int64[Tensor, "*shape"], level: NoiseLevel) -> Bool[Tensor, "*shape"]:
        """pi_x0 > 0 in the limit, and the limit excludes no state of the mixture."""
        excluded = ((self.mixture(level) > 0) & (self.pi == 0)).any(-1)
        return (self.pi[x0] > 0) & ~expand_to(excluded, x0)

    def _entry_rate(self, x: Int64[Tensor, "*shape"], level: NoiseLevel) -> Float64[Tensor, "*shape"]:
        """rho_x: the rate per unit of noise at which every other state enters x."""
        level = level.at(x)
        return self.entries(x, level, level)

    def entries(
        self, x: Int64[Tensor, "*shape"], level: NoiseLevel, since: NoiseLevel | None = None
    ) -> Float64[Tensor, "*shape"]:
        """pi_ab(x), for levels of the shape of x."""
        return (self.mixture_weights(level, since) * self.components.T[x]).sum(-1)
