"""The score entropy of an interpolating graph: its coefficients in the scores, and in the logits of a linear head."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ..maths.linear_entropy import LinearForm
from ..maths.numerics import LARGEST
from .noise import NoiseLevel


class Coefficients(NamedTuple):
    """Coefficients [...] of the score entropy at each position: functions of (sigma, x, x0) only."""

    a: Float64[Tensor, "*shape"]
    b: Float64[Tensor, "*shape"]
    c: Float64[Tensor, "*shape"]
    d: Float64[Tensor, "*shape"]


@runtime_checkable
class Mixture(Protocol):
    """What the score entropy asks of an `InterpolatingGraph`."""

    components: Tensor

    def mixture_weights(self, level: NoiseLevel, since: NoiseLevel | None = None) -> Tensor:
        """Weights of the components [..., K]."""
        ...

    def mixture(self, level: NoiseLevel, since: NoiseLevel | None = None) -> Tensor:
        """The mixture [S], or one per level [..., S]."""
        ...

    def entries(self, x: Tensor, level: NoiseLevel, since: NoiseLevel | None = None) -> Tensor:
        """The mixture's entries at states x [...]."""
        ...

    def coefficients(self, level: NoiseLevel, x: Tensor, x0: Tensor) -> Coefficients:
        """The coefficients of the score entropy."""
        ...


def coefficients(
    graph: Mixture, level: NoiseLevel, x: Int64[Tensor, "*shape"], x0: Int64[Tensor, "*shape"]
) -> Coefficients:
    """A, B, C, D of the score entropy, with q_y = alpha 1{y = x0} + beta pi_y and h(p) = p log p:

        A = rho_x      B = rho_x beta / q_x      C = [x != x0] rho_x alpha / q_x
        D = rho_x / q_x { beta [m (log(beta / q_x) - 1) + sum_{y != x, x0} h(pi_y)]
                         + [x != x0] q_x0 (log(q_x0 / q_x) - 1) },    m = 1 - pi_x - [x != x0] pi_x0

    pi is the mixture since clean data. All four are 0 where rho_x = 0.
    """
    level = level.at(x)
    sigma, rho_x = level.elapsed(None), graph.entries(x, level, level)
    alpha, beta = torch.exp(-sigma), -torch.expm1(-sigma)
    moved = (x != x0).double()
    pi_x, pi_x0 = graph.entries(x, level), graph.entries(x0, level)
    reachable = rho_x > 0
    q_x = torch.where(reachable, alpha * (1 - moved) + beta * pi_x, 1.0)
    q_x0 = alpha + beta * pi_x0

    mass = 1 - pi_x - moved * pi_x0
    weights = graph.mixture_weights(level)  # of components that do not overlap: h(w pi) = pi h(w) + w h(pi)
    spread = (torch.xlogy(weights, weights) + weights * torch.xlogy(graph.components, graph.components).sum(-1)).sum(-1)
    spread = spread - torch.xlogy(pi_x, pi_x) - moved * torch.xlogy(pi_x0, pi_x0)
    unmoved_part = torch.xlogy(beta, beta / q_x) * mass + beta * (spread - mass)
    moved_part = moved * q_x0 * (torch.log(q_x0 / q_x) - 1)

    scale = torch.where(reachable, rho_x / q_x, 0.0)
    return Coefficients(rho_x, scale * beta, scale * moved * alpha, scale * (unmoved_part + moved_part))


def score_entropy(
    graph: Mixture,
    log_score: Float[Tensor, "*shape S"],
    level: NoiseLevel,
    x: Int64[Tensor, "*shape"],
    x0: Int64[Tensor, "*shape"],
) -> Float64[Tensor, "*shape"]:
    """See `InterpolatingGraph.score_entropy`.

    Exponentials are in the dtype of `log_score`, shifted in rows with large log-scores; sums and coefficients are in
    float64, since the four terms cancel near the optimum. A log-score of -inf (a score of 0) contributes 0 where the
    true ratio is 0, and makes the entropy infinite elsewhere.
    """
    a, b, c, d = graph.coefficients(level, x, x0)
    u = log_score.scatter(-1, x[..., None], 0.0)
    shift = (u.detach().amax(-1, keepdim=True) - LARGEST).clamp(min=0)
    exponentials = (u - shift).exp_().sum(-1, dtype=torch.float64) * shift[..., 0].double().exp() - 1.0
    means = [(u * pi.to(u.dtype)).masked_fill_(pi == 0, 0.0).sum(-1, dtype=torch.float64) for pi in graph.components]
    mean = (graph.mixture_weights(level.at(x)) * torch.stack(means, -1)).sum(-1)
    clean = u.gather(-1, x0[..., None])[..., 0].double()
    return a * exponentials - torch.where(b > 0, b * mean, 0.0) - torch.where(c > 0, c * clean, 0.0) + d


def linear_form(
    graph: Mixture,
    level: NoiseLevel,
    x: Int64[Tensor, " N"],
    x0: Int64[Tensor, " N"],
    offset: Float64[Tensor, " N"],
    weight: Float64[Tensor, " N"],
) -> LinearForm:
    """`weight` times the score entropy of the log-scores u_y = l_y + offset, in the logits l (`maths.linear_entropy`).

    Args:
        graph: The forward process.
        level: Noise level [N].
        x: Noised states [N].
        x0: Clean tokens [N].
        offset: Offset [N] of the log-scores from the logits.
        weight: Factor [N] of the score entropy.
    """
    a, b, c, d = (weight * part for part in graph.coefficients(level, x, x0))
    elsewhere = 1 - graph.components.T[x]  # exactly 0 for a component that is nowhere but at x
    pull = torch.where(elsewhere > 0, b[:, None] * graph.mixture_weights(level), 0.0)
    return LinearForm(a * offset.exp(), pull, c, d - ((pull * elsewhere).sum(-1) + c) * offset)
