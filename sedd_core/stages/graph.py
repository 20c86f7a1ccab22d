"""The graph stage: a forward process that corrupts each position of a sequence independently.

Notation: S states, Q the rate matrix (Q(y -> x) the rate from y to x), sigma the total noise, x the current and x0
the clean states, s(x)_y ~ p_sigma(y)/p_sigma(x) the concrete score with s(x)_x = 1, log-score its logarithm.
For states [B, L], sigma has shape [B] or [B, L]; see `numerics.expand_to`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from ..maths.categorical import categorical
from ..maths.draws import Draws
from ..maths.numerics import expand_to


class StepWeights(NamedTuple):
    """An unnormalized distribution: `values` >= 0 [..., S], which sum to `total` [...] without clipping."""

    values: Float[Tensor, "*shape S"]
    total: Float64[Tensor, "*shape"]


class Graph(nn.Module, ABC):
    """Abstract factorized, length-preserving forward process.

    A subclass implements `transition`, `rate_into` and `prior_law`; all other methods are derived from them with
    dense [S, S] matrices, suitable for small S. `InterpolatingGraph` has closed forms for the processes of SEDD.
    Rates must be constant per unit of noise, so that q_a followed by q_b is q_(a + b); `testing.check_graph` verifies
    this.

    Args:
        vocab_size: Number V of data tokens; they are the states 0 .. V-1.
        num_states: Number S of states.
        mask: The mask state, which is not a data token; None if there is none.
    """

    def __init__(self, *, vocab_size: int, num_states: int, mask: int | None = None) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.num_states = num_states
        self.mask = mask

    @abstractmethod
    def transition(self, x: Int64[Tensor, "*shape"], sigma: Float[Tensor, "..."]) -> Float64[Tensor, "*shape S"]:
        """q_sigma(y | x) over y: the distribution of a position in state x after noise sigma.

        Args:
            x: States [...].
            sigma: Total noise, with the leading axes of x.

        Returns:
            Probabilities [..., S]; rows sum to 1.
        """

    @abstractmethod
    def rate_into(self, x: Int64[Tensor, "*shape"]) -> Float64[Tensor, "*shape S"]:
        """Rates Q(y -> x) over y [..., S] into states x [...]; at y = x, minus the total rate out of x."""

    @abstractmethod
    def prior_law(self) -> Float64[Tensor, " S"]:
        """The distribution [S] that sampling starts from: the limit of the forward process."""

    def score_offset(self, x: Int64[Tensor, "*shape"], sigma: Float[Tensor, "..."]) -> Float64[Tensor, "*shape"]:
        """A typical log-score [...] of states x [...] at noise sigma, added to the logits by a scaled score head.

        Raises:
            TypeError: The graph defines no score offset.
        """
        raise TypeError(f"{type(self).__name__} defines no score_offset: set score.scale_by_sigma=False")

    def reachable(self, x: Int64[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """Whether the process can enter each state x [...]; only there are scores learned and moves possible."""
        return (self.rate_into(x).scatter(-1, x[..., None], 0.0) > 0).any(-1)

    def prior(self, draws: Draws, length: int) -> Int64[Tensor, "B L"]:
        """Draw sequences [B, length] from `prior_law`."""
        uniform = draws.uniform("prior", length)
        probs = self.prior_law().expand(uniform.numel(), -1)
        return categorical(probs, uniform.flatten()).view(uniform.shape)

    def perturb(self, x0: Int64[Tensor, "B L"], sigma: Float[Tensor, "..."], draws: Draws) -> Int64[Tensor, "B L"]:
        """Draw noised states [B, L] from q_sigma(. | x0).

        Args:
            x0: Clean tokens [B, L].
            sigma: Total noise [B] or [B, L].
            draws: Uniform numbers.
        """
        uniform = draws.uniform("perturb", x0.shape[1])
        return categorical(self.transition(x0, sigma).flatten(0, 1), uniform.flatten()).view(x0.shape)

    def reverse_rate(self, x: Int64[Tensor, "*shape"], score: Float[Tensor, "*shape S"]) -> Float[Tensor, "*shape S"]:
        """Rates [..., S] of the reverse process out of x per unit of noise: Q(y -> x) s_y, minus their sum at y = x.

        Args:
            x: Current states [...].
            score: Scores [..., S].

        Source: SEDD, equation 4.
        """
        rate = (self.rate_into(x) * score).scatter(-1, x[..., None], 0.0)
        return rate.scatter(-1, x[..., None], -rate.sum(-1, keepdim=True))

    def posterior_weights(
        self,
        x: Int64[Tensor, "*shape"],
        score: Float[Tensor, "*shape S"],
        sigma: Float[Tensor, "..."],
        sigma_next: Float[Tensor, "..."],
    ) -> StepWeights:
        """Weights of one analytic (Tweedie) step from sigma down to sigma_next.

        With T the kernel of sigma - sigma_next: w_y = [(T^-1)^T s]_y T(y -> x), negative values clipped to 0;
        without clipping they sum to s_x. Memory: one kernel [S, S] at a time, per distinct sigma - sigma_next.

        Args:
            x: Current states [...].
            score: Scores [..., S], up to one factor per row, which its weights and their total share.
            sigma: Total noise before the step, with the leading axes of x.
            sigma_next: Total noise after the step.

        Source: SEDD, theorem 4.2.
        """
        steps = (expand_to(sigma, x) - expand_to(sigma_next, x)).double().flatten()
        current, flat = x.flatten(), score.double().flatten(0, -2)
        values = torch.empty_like(flat)
        for step in steps.unique():
            rows, kernel = steps == step, self._kernel(step)
            earlier = torch.linalg.solve(kernel.mT, flat[rows].mT).mT
            values[rows] = (earlier * kernel[:, current[rows]].mT).clamp(min=0)
        values = values.view(score.shape)
        return StepWeights(values, score.gather(-1, x[..., None])[..., 0].double())

    def posterior(
        self,
        x: Int64[Tensor, "*shape"],
        score: Float[Tensor, "*shape S"],
        sigma: Float[Tensor, "..."],
        sigma_next: Float[Tensor, "..."],
    ) -> Float[Tensor, "*shape S"]:
        """The distribution [..., S] of one analytic step, exact for exact scores; see `posterior_weights`."""
        values, _ = self.posterior_weights(x, score, sigma, sigma_next)
        return values / values.sum(-1, keepdim=True)

    def score_entropy(
        self,
        log_score: Float[Tensor, "*shape S"],
        sigma: Float[Tensor, "..."],
        x: Int64[Tensor, "*shape"],
        x0: Int64[Tensor, "*shape"],
    ) -> Float64[Tensor, "*shape"]:
        """Denoising score entropy [...] in nats per unit of sigma: at least 0, and 0 at the true ratios.

            sum_{y != x} Q(y -> x) [s_y - r_y log s_y + r_y (log r_y - 1)],   r_y = q_sigma(y | x0) / q_sigma(x | x0)

        This is the dense form; absorb and uniform use `InterpolatingGraph.score_entropy`.

        Args:
            log_score: Log-scores [..., S]; the entry at y = x is ignored.
            sigma: Total noise, with the leading axes of x.
            x: Noised states [...].
            x0: Clean tokens [...].

        Source: SEDD, theorem 3.4.
        """
        probs = self.transition(x0, sigma)
        ratio = probs / probs.gather(-1, x[..., None])
        u = log_score.scatter(-1, x[..., None], 0.0).double()
        linear = torch.where(ratio > 0, ratio * u, 0.0)  # a log-score of -inf is exact at a ratio of 0
        terms = u.exp() - linear + torch.xlogy(ratio, ratio) - ratio
        rate = self.rate_into(x).scatter(-1, x[..., None], 0.0)
        return torch.where(rate > 0, rate * terms, 0.0).sum(-1)

    def prior_kl(self, x0: Int64[Tensor, "*shape"], sigma: Float[Tensor, "..."]) -> Float64[Tensor, "*shape"]:
        """KL(q_sigma(. | x0) || prior) [...] of each position in nats: the prior term of the bound."""
        probs, prior = self.transition(x0, sigma), self.prior_law()
        return torch.where(probs > 0, torch.xlogy(probs, probs / prior), 0.0).sum(-1)

    def _kernel(self, sigma: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape S S"]:
        """The matrix T with T[y, x] = q_sigma(x | y)."""
        states = torch.arange(self.num_states, device=sigma.device).expand(*sigma.shape, -1)
        return self.transition(states, sigma)
