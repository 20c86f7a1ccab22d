"""Processes that interpolate between the data and a fixed distribution pi: absorb, uniform, and mixtures of them.

One-token kernel T_sigma = alpha I + beta 1 pi^T with alpha = exp(-sigma), beta = 1 - alpha, so the rate into any
state z is pi_z from every state. pi determines the graph; all methods have closed forms (docs/mathematics.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from ..maths.draws import Draws
from ..maths.numerics import LARGEST, expand_to, log1mexp
from .graph import Graph, StepWeights

TOLERANCE = 1e-9
"""Largest accepted deviation of the sum of pi from 1."""


class Coefficients(NamedTuple):
    """Coefficients [...] of the score entropy at each position: functions of (sigma, x, x0) only."""

    a: Float64[Tensor, "*shape"]
    b: Float64[Tensor, "*shape"]
    c: Float64[Tensor, "*shape"]
    d: Float64[Tensor, "*shape"]


class InterpolatingGraph(Graph):
    """Forward process with the one-token kernel exp(-sigma) I + (1 - exp(-sigma)) 1 pi^T.

    Args:
        pi: The limit distribution [S] of the process, in float64; its values are not checked on the meta device.
        vocab_size: Number V of data tokens.
        mask: The mask state, which is not a data token; None if there is none.

    Raises:
        ValueError: pi is not a distribution.
    """

    pi: Tensor

    def __init__(self, pi: Float64[Tensor, " S"], *, vocab_size: int, mask: int | None = None) -> None:
        _check_distribution(pi)
        super().__init__(vocab_size=vocab_size, num_states=len(pi), mask=mask)
        self.register_buffer("pi", pi, persistent=False)

    def prior_law(self) -> Float64[Tensor, " S"]:
        """pi."""
        return self.pi

    def transition(self, x: Int64[Tensor, "*shape"], sigma: Float[Tensor, "..."]) -> Float64[Tensor, "*shape S"]:
        """alpha 1{y = x} + beta pi_y."""
        sigma = expand_to(sigma, x).double()[..., None]
        stay = torch.zeros(*x.shape, self.num_states, dtype=torch.float64, device=x.device)
        return stay.scatter(-1, x[..., None], torch.exp(-sigma)) - torch.expm1(-sigma) * self.pi

    def rate_into(self, x: Int64[Tensor, "*shape"]) -> Float64[Tensor, "*shape S"]:
        """pi_x from every y != x; pi_x - 1 at y = x."""
        rate = self.pi[x][..., None]
        return rate.expand(*x.shape, self.num_states).scatter(-1, x[..., None], rate - 1.0)

    def reachable(self, x: Int64[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """pi_x > 0."""
        return self.pi[x] > 0

    def score_offset(self, x: Int64[Tensor, "*shape"], sigma: Float[Tensor, "..."]) -> Float64[Tensor, "*shape"]:
        """Log of the mean score over y != x, assuming that x is the clean token (or any token, if x is the mask).

        log[(1 - q_x) / ((S - 1) q_x)] with q_x = alpha 1{x is a token} + beta pi_x. For uniform this is
        log[expm1(sigma) / (expm1(sigma) + S)], the log-scores of a clean token; for absorb at a mask it is the
        published - log expm1(sigma) - log V.
        """
        sigma = expand_to(sigma, x).double()
        alpha, beta, pi_x = torch.exp(-sigma), -torch.expm1(-sigma), self.pi[x]
        is_token = x < self.vocab_size if self.mask is None else x != self.mask
        elsewhere = torch.where(is_token, log1mexp(sigma) + torch.log1p(-pi_x), torch.log(alpha + beta * (1 - pi_x)))
        log_q_x = torch.log(torch.where(is_token, alpha, 0.0) + beta * pi_x)
        return elsewhere - log_q_x - math.log(self.num_states - 1)

    def prior(self, draws: Draws, length: int) -> Int64[Tensor, "B L"]:
        """Draw sequences [B, length] from pi."""
        return self._from_pi(draws.uniform("prior", length))

    def perturb(self, x0: Int64[Tensor, "B L"], sigma: Float[Tensor, "..."], draws: Draws) -> Int64[Tensor, "B L"]:
        """Replace each token with probability beta by a draw from pi, which may be the same token."""
        beta = -torch.expm1(-expand_to(sigma, x0).double())
        replaced = draws.uniform("perturb", x0.shape[1]) < beta
        return torch.where(replaced, self._from_pi(draws.uniform("replace", x0.shape[1])), x0)

    def reverse_rate(self, x: Int64[Tensor, "*shape"], score: Float[Tensor, "*shape S"]) -> Float[Tensor, "*shape S"]:
        """pi_x s_y for y != x, minus their sum at y = x, in the dtype of `score`."""
        rate = (self.pi[x][..., None].to(score.dtype) * score).scatter(-1, x[..., None], 0.0)
        return rate.scatter(-1, x[..., None], -rate.sum(-1, keepdim=True))

    def posterior_weights(
        self,
        x: Int64[Tensor, "*shape"],
        score: Float[Tensor, "*shape S"],
        sigma: Float[Tensor, "..."],
        sigma_next: Float[Tensor, "..."],
    ) -> StepWeights:
        """With e = exp(-(sigma - sigma_next)) and total score S = sum_y s_y:

            w_y = [s_y - (1 - e) pi_y S]_+ [e 1{y = x} + (1 - e) pi_x]

        which sum to e s_x without clipping. No exponential has a positive argument, so nothing overflows.
        """
        delta = expand_to(sigma, x).double() - expand_to(sigma_next, x).double()
        e, rest = torch.exp(-delta), -torch.expm1(-delta)
        total = score.sum(-1, dtype=torch.float64)
        earlier = (score - (rest * total)[..., None].to(score.dtype) * self.pi.to(score.dtype)).clamp(min=0)
        move, unmoved = rest * self.pi[x], score.gather(-1, x[..., None])[..., 0].double()
        own = earlier.gather(-1, x[..., None]) * (e + move)[..., None].to(score.dtype)
        return StepWeights((earlier * move[..., None].to(score.dtype)).scatter(-1, x[..., None], own), e * unmoved)

    def coefficients(
        self, sigma: Float[Tensor, "..."], x: Int64[Tensor, "*shape"], x0: Int64[Tensor, "*shape"]
    ) -> Coefficients:
        """A, B, C, D of the score entropy, with q_y = alpha 1{y = x0} + beta pi_y and h(p) = p log p:

            A = pi_x      B = pi_x beta / q_x      C = [x != x0] pi_x alpha / q_x
            D = pi_x / q_x { beta [m (log(beta / q_x) - 1) + sum_{y != x, x0} h(pi_y)]
                             + [x != x0] q_x0 (log(q_x0 / q_x) - 1) },    m = 1 - pi_x - [x != x0] pi_x0

        All four are 0 where pi_x = 0.
        """
        sigma = expand_to(sigma, x).double()
        alpha, beta = torch.exp(-sigma), -torch.expm1(-sigma)
        moved = (x != x0).double()
        pi_x, pi_x0 = self.pi[x], self.pi[x0]
        reachable = pi_x > 0
        q_x = torch.where(reachable, alpha * (1 - moved) + beta * pi_x, 1.0)
        q_x0 = alpha + beta * pi_x0

        mass = 1 - pi_x - moved * pi_x0
        spread = torch.xlogy(self.pi, self.pi).sum() - torch.xlogy(pi_x, pi_x) - moved * torch.xlogy(pi_x0, pi_x0)
        unmoved_part = torch.xlogy(beta, beta / q_x) * mass + beta * (spread - mass)
        moved_part = moved * q_x0 * (torch.log(q_x0 / q_x) - 1)

        scale = torch.where(reachable, pi_x / q_x, 0.0)
        return Coefficients(pi_x, scale * beta, scale * moved * alpha, scale * (unmoved_part + moved_part))

    def score_entropy(
        self,
        log_score: Float[Tensor, "*shape S"],
        sigma: Float[Tensor, "..."],
        x: Int64[Tensor, "*shape"],
        x0: Int64[Tensor, "*shape"],
    ) -> Float64[Tensor, "*shape"]:
        """`Graph.score_entropy` from its coefficients, with u the log-score:

            A sum_{y != x} exp(u_y) - B sum_{y != x} pi_y u_y - C u_x0 + D

        Exponentials are in the dtype of `log_score`, shifted in rows with large log-scores; sums and coefficients are
        in float64, since the four terms cancel near the optimum. A log-score of -inf (a score of 0) contributes 0
        where the true ratio is 0, and makes the entropy infinite elsewhere.
        """
        a, b, c, d = self.coefficients(sigma, x, x0)
        u = log_score.scatter(-1, x[..., None], 0.0)
        shift = (u.detach().amax(-1, keepdim=True) - LARGEST).clamp(min=0)
        exponentials = (u - shift).exp_().sum(-1, dtype=torch.float64) * shift[..., 0].double().exp() - 1.0
        mean = (u * self.pi.to(u.dtype)).masked_fill_(self.pi == 0, 0.0).sum(-1, dtype=torch.float64)
        clean = u.gather(-1, x0[..., None])[..., 0].double()
        return a * exponentials - torch.where(b > 0, b * mean, 0.0) - torch.where(c > 0, c * clean, 0.0) + d

    def prior_kl(self, x0: Int64[Tensor, "*shape"], sigma: Float[Tensor, "..."]) -> Float64[Tensor, "*shape"]:
        """(alpha + beta pi_x0) log1p(alpha (1 - pi_x0) / pi_x0) + beta (1 - pi_x0) log beta; inf where pi_x0 = 0."""
        sigma = expand_to(sigma, x0).double()
        alpha, beta, pi = torch.exp(-sigma), -torch.expm1(-sigma), self.pi[x0]
        q_x0 = alpha + beta * pi
        kept = torch.where(q_x0 > 0, q_x0 * torch.log1p(alpha * (1 - pi) / pi), 0.0)
        return kept + torch.xlogy(beta * (1 - pi), beta)

    def _from_pi(self, uniform: Float64[Tensor, "B L"]) -> Int64[Tensor, "B L"]:
        cumulated = self.pi.cumsum(0)
        below_one = torch.nextafter(cumulated[-1], cumulated.new_zeros(()))
        return torch.searchsorted(cumulated, (uniform * cumulated[-1]).minimum(below_one), right=True)


def _check_distribution(pi: Tensor) -> None:
    if pi.is_meta:
        return
    total = pi.detach().sum().item()
    if not (pi >= 0).all() or abs(total - 1) > TOLERANCE:
        least = pi.detach().min().item()
        raise ValueError(f"pi must be a distribution: its smallest entry is {least:.6g}, and its sum is {total:.12g}")
