"""Steps, means and score entropy of a process without closed forms: from rates, and kernels [S, S] of level pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from .noise import NoiseLevel


@runtime_checkable
class Process(Protocol):
    """What dense computations ask of a `Graph`."""

    num_states: int

    def transition(self, x: Tensor, level: NoiseLevel, since: NoiseLevel | None = None) -> Tensor:
        """Probabilities [..., S] of the states at a level, given states x [...] at an earlier one."""
        ...

    def rate_into(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """Rates [..., S] into states x [...]."""
        ...


def posterior_values(
    graph: Process,
    x: Int64[Tensor, "*shape"],
    score: Float[Tensor, "*shape S"],
    level: NoiseLevel,
    level_next: NoiseLevel,
) -> Float64[Tensor, "*shape S"]:
    """`Graph.posterior_weights` without their total."""
    current, flat = x.flatten(), score.double().flatten(0, -2)
    values = torch.empty_like(flat)
    for rows, now, earlier in _distinct(x, level, level_next):
        matrix = kernel(graph, now, earlier)
        clean = torch.linalg.solve(matrix.mT, flat[rows].mT).mT
        values[rows] = (clean * matrix[:, current[rows]].mT).clamp(min=0)
    return values.view(score.shape)


def score_from_mean(
    graph: Process,
    log_mean: Float[Tensor, "*shape V"],
    x: Int64[Tensor, "*shape"],
    level: NoiseLevel,
    since: NoiseLevel | None,
) -> Float64[Tensor, "*shape S"]:
    """See `Graph.score_from_mean`."""
    mean = log_mean.double().exp().flatten(0, -2)
    log_probs = torch.empty(x.numel(), graph.num_states, dtype=torch.float64, device=x.device)
    for rows, now, earlier in _distinct(x, level, level if since is None else since):
        matrix = kernel(graph, now, None if since is None else earlier)
        log_probs[rows] = (mean[rows] @ matrix[: mean.shape[-1]]).log()
    return (log_probs - log_probs.gather(-1, x.flatten()[:, None])).view(*x.shape, graph.num_states)


def mean_from_score(
    graph: Process, score: Float[Tensor, "*shape S"], x: Int64[Tensor, "*shape"], level: NoiseLevel
) -> Float64[Tensor, "*shape S"]:
    """`Graph.mean_from_score` of all states, unnormalized."""
    flat = score.double().flatten(0, -2)
    mean = torch.empty_like(flat)
    for rows, now, _ in _distinct(x, level, level):
        mean[rows] = torch.linalg.solve(kernel(graph, now).mT, flat[rows].mT).mT.clamp(min=0)
    return mean.view(score.shape)


def score_entropy(
    graph: Process,
    log_score: Float[Tensor, "*shape S"],
    level: NoiseLevel,
    x: Int64[Tensor, "*shape"],
    x0: Int64[Tensor, "*shape"],
) -> Float64[Tensor, "*shape"]:
    """See `Graph.score_entropy`."""
    probs = graph.transition(x0, level)
    ratio = probs / probs.gather(-1, x[..., None])
    u = log_score.scatter(-1, x[..., None], 0.0).double()
    linear = torch.where(ratio > 0, ratio * u, 0.0)  # a log-score of -inf is exact at a ratio of 0
    terms = u.exp() - linear + torch.xlogy(ratio, ratio) - ratio
    rate = graph.rate_into(x, level).scatter(-1, x[..., None], 0.0)
    return torch.where(rate > 0, rate * terms, 0.0).sum(-1)


def kernel(graph: Process, level: NoiseLevel, since: NoiseLevel | None = None) -> Float64[Tensor, "S S"]:
    """The matrix T with T[y, x] = q(x at level | y at since), for one pair of levels."""
    return graph.transition(torch.arange(graph.num_states, device=level.sigma.device), level, since)


def _distinct(
    x: Int64[Tensor, "*shape"], level: NoiseLevel, level_next: NoiseLevel
) -> Iterator[tuple[Bool[Tensor, " N"], NoiseLevel, NoiseLevel]]:
    """The flattened positions of each distinct pair of levels, and the pair."""
    now, then = (one.at(x).flatten() for one in (level, level_next))
    pairs, which = torch.stack([now.sigma, then.sigma]).unique(dim=1, return_inverse=True)
    for index in range(pairs.shape[1]):
        first = (rows := which == index).nonzero()[0, 0]
        yield rows, now.pick(first), then.pick(first)
