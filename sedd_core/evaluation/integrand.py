"""The integrand of the likelihood bound, and the points at which it is evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ..maths.categorical import row_chunks
from ..maths.draws import Draws
from ..sampling.conditioning import score_function
from ..stages import Graph, Noise, NoiseLevel, ScoreNetwork
from ..stages.sampler import denoising_distribution

SMALLEST_TAIL = 1e-12
"""Smallest exp(-(sigma - sigma_end) / 2) of the integral beyond the last level; the rest is below this."""


class Point(NamedTuple):
    """States x at a noise level, and the weights of their score entropy in each term of the bound."""

    x: Int64[Tensor, "B L"]
    level: NoiseLevel
    diffusion: Float64[Tensor, " B"]
    reconstruction: Float64[Tensor, " B"]
    prior: Float64[Tensor, " B"]


def masks_only(graph: Graph) -> bool:
    """Whether all noise is masking (absorb), so that the number of masks determines the bound's integrand.

    Determined from the rates: only the mask is ever entered, from every other state at rate 1.
    """
    prior = graph.prior_law()
    if graph.mask is None or prior[graph.mask] != 1:
        return False
    others = torch.arange(graph.num_states, device=prior.device)
    others = others[others != graph.mask]
    levels = NoiseLevel.of_sigma(torch.tensor([1e-3, 1.0, 10.0], device=prior.device))
    into_mask = graph.rate_into(torch.full_like(levels.sigma, graph.mask, dtype=torch.int64), levels)[:, others]
    return bool((into_mask == 1).all()) and not any(
        graph.reachable(others, levels.pick(index)).any() for index in range(3)
    )


def held_entropy(
    model: ScoreNetwork,
    x: Int64[Tensor, "B L"],
    x0: Int64[Tensor, "B L"],
    level: NoiseLevel,
    end: NoiseLevel,
    positions: Bool[Tensor, "B L"],
    cond: Tensor | None,
    documents: Int64[Tensor, "B L"] | None = None,
) -> Float64[Tensor, " B"]:
    """The score entropy [B] at a level beyond the last one, `end`, for which the network was trained.

    The network's output at `end` is read as the distribution g_y = s_y / sum_z s_z of each position there, given all
    others, and carried on to the level by the process: s_y = (g K)_y / (g K)_x. A score held constant would diverge.
    """
    current, clean, now, last = x[positions], x0[positions], level.at(x, positions), end.at(x, positions)
    log_score = model.raw(x, end, positions, cond, documents).scatter(-1, current[:, None], 0.0)
    entropy = torch.empty(len(current), dtype=torch.float64, device=x.device)
    for part in row_chunks(len(log_score), log_score.shape[-1]):
        log_probs = log_score[part].double().log_softmax(-1)
        carried = model.graph.score_from_mean(log_probs, current[part], now.pick(part), last.pick(part))
        entropy[part] = model.graph.score_entropy(carried, now.pick(part), current[part], clean[part])
    return torch.zeros(x.shape, dtype=torch.float64, device=x.device).masked_scatter(positions, entropy).sum(-1)


def log_denoised(
    model: ScoreNetwork,
    x: Int64[Tensor, "B L"],
    x0: Int64[Tensor, "B L"],
    level: NoiseLevel,
    loss_mask: Bool[Tensor, "B L"],
    cond: Tensor | None = None,
    documents: Int64[Tensor, "B L"] | None = None,
    clean: Bool[Tensor, "B L"] | None = None,
) -> Float64[Tensor, " B"]:
    """log p(x0 | x) [B] of the final denoising, in nats per sequence; positions that cannot move add 0."""
    score_fn = score_function(model, clean, cond, documents)
    positions, probs = denoising_distribution(x, level, score_fn, model.graph)
    log_p = probs.gather(-1, x0[positions][:, None])[:, 0].double().log()
    log_p = torch.zeros(x.shape, dtype=torch.float64, device=x.device).masked_scatter(positions, log_p)
    return log_p.where(loss_mask, 0.0).sum(-1)


def beyond(
    graph: Graph, noise: Noise, x0: Int64[Tensor, "B L"], end: NoiseLevel, draws: Draws, points: int
) -> Iterator[Point]:
    """Points for the integral from the last level to infinity, in v = exp(-(sigma - sigma_end) / 2), stratified.

    d sigma = 2 dv / v. The entropy falls at least as exp(-sigma / 2), so that the integrand is bounded in v.
    """
    zero = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
    for index in range(points):
        point_draws = draws.at(index)
        v = ((index + point_draws.uniform("level", 1)[:, 0]) / points).clamp(min=SMALLEST_TAIL)
        level = noise.at_sigma(end.sigma - 2 * v.log())
        yield Point(graph.perturb(x0, level, point_draws), level, zero, zero, 2 / v)
