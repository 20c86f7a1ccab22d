"""Estimators of the bound's integral: the points at which each evaluates the score entropy, and their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ..errors import UserError, nearest
from ..maths.draws import Draws
from ..sampling.conditioning import FixedTokenNoise
from ..stages import Graph, Noise, NoiseLevel
from .integrand import Point, masks_only

TERMS = ("diffusion", "reconstruction", "prior")
"""Names of the bound's terms."""


class Strata(NamedTuple):
    """The stratum [B] of each sequence in its batch, and the number [B] of strata in that batch."""

    number: Int64[Tensor, " B"]
    of: Int64[Tensor, " B"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """How the bound is estimated, apart from the number of points and the smallest time."""

    estimator: str = "auto"
    """Name of the estimator, a key of ESTIMATORS; auto: exact_k if all noise is masking, else log_sigma."""
    t_max: float = 1.0
    """Largest diffusion time."""
    left_out: tuple[str, ...] = ()
    """Terms that are neither computed nor part of the sum."""
    given_noise: FixedTokenNoise = "same"
    """Noise level that the network receives at given tokens: "same" as elsewhere, as in training, or "none"."""
    scored: Literal["loss", "text"] = "loss"
    """Positions in the sum: all of the loss mask, or only those that are text. All of the loss mask is noised."""

    def __post_init__(self) -> None:
        check_name("estimator", self.estimator, ("auto", *ESTIMATORS))
        for term in self.left_out:
            check_name("left_out", term, TERMS)
        check_name("given_noise", self.given_noise, ("same", "none"))
        check_name("scored", self.scored, ("loss", "text"))
        if set(self.left_out) >= set(TERMS):
            raise ValueError("left_out must leave one term of the bound at least")
        if not 0 < self.t_max <= 1:
            raise ValueError(f"t_max must be above 0 and at most 1, not {self.t_max}")


class Integral(NamedTuple):
    """What an estimator draws points for."""

    graph: Graph
    noise: Noise
    x0: Int64[Tensor, "B L"]
    unknown: Bool[Tensor, "B L"]
    """Positions that are noised."""
    ends: NoiseLevel
    """Levels [2] at which the diffusion term begins and ends."""
    draws: Draws
    points: int
    strata: Strata

    def uniform(self, index: int) -> Float64[Tensor, " B"]:
        """The number [B] in (0, 1) that places a point's noise level."""
        return self.draws.at(index).uniform("level", 1)[:, 0]


Estimator = Callable[[Integral], Iterator[Point]]


def by_mask_count(integral: Integral) -> Iterator[Point]:
    """Points for absorb: draw the number k of masks (stratified), then their positions, then the noise given k.

    With lambda = 1 - exp(-sigma) and L unknown positions, the integral is sum_k 1/k E[sum_masks expm1(sigma) entropy],
    k masks being uniform among all k and lambda ~ Beta(k, L - k + 1). The k-th smallest of L uniform numbers
    has that distribution, and the positions of the k smallest are the masks.
    """
    graph, noise, x0, points = integral.graph, integral.noise, integral.x0, integral.points
    length = integral.unknown.sum(-1).clamp(min=1)  # a sequence without unknown positions adds 0 whatever is drawn
    low, high = integral.ends.sigma
    for index in range(points):
        point_draws = integral.draws.at(index)
        uniform = point_draws.uniform("count", 1)[:, 0]
        count = torch.minimum(1 + (length * (index + uniform) / points).long(), length)
        thresholds = point_draws.uniform("places", x0.shape[1]).masked_fill(~integral.unknown, 1.0)
        threshold = thresholds.sort(-1).values.gather(-1, count[:, None] - 1)
        x = torch.where(thresholds <= threshold, graph.prior(point_draws, x0.shape[1]), x0)
        sigma = -torch.log1p(-threshold[:, 0])
        clamped = sigma.clamp(low, high)
        weight = length / count * torch.expm1(clamped)
        yield Point(
            x, noise.at_sigma(clamped), weight * (clamped == sigma), weight * (sigma < low), weight * (sigma > high)
        )


def by_lambda(integral: Integral) -> Iterator[Point]:
    """Points for absorb: lambda = 1 - exp(-sigma) uniform in (0, 1), stratified over the batch.

    d sigma = d lambda / (1 - lambda), and the score entropy goes with 1 / expm1(sigma). Beyond the ends, the network's
    level is held as in `by_mask_count`.

    Source: RADD's lambda-DCE with its "decoupled" sampler (github.com/ML-GSAI/RADD, losses.py).
    """
    low, high = integral.ends.sigma
    for index in range(integral.points):
        lambda_ = (integral.strata.number + integral.uniform(index)) / integral.strata.of
        sigma = -torch.log1p(-lambda_)
        clamped = sigma.clamp(low, high)
        x = integral.graph.perturb(integral.x0, NoiseLevel.of_sigma(sigma), integral.draws.at(index))
        weight = torch.expm1(clamped) / lambda_
        yield Point(
            x,
            integral.noise.at_sigma(clamped),
            weight * (clamped == sigma),
            weight * (sigma < low),
            weight * (sigma > high),
        )


def by_noise(integral: Integral) -> Iterator[Point]:
    """Points for any graph: log sigma uniform in each of `points` equal parts; d sigma = sigma d log sigma."""
    low, high = integral.ends.sigma.log()
    for index in range(integral.points):
        sigma = torch.exp(low + (high - low) * (index + integral.uniform(index)) / integral.points)
        yield _point(integral, index, integral.noise.at_sigma(sigma), sigma * (high - low))


def by_nodes(integral: Integral) -> Iterator[Point]:
    """Points for any graph: Gauss-Legendre nodes in log sigma, the same for all sequences; only states are drawn.

    The integral's error does not shrink with more draws; it is shown by another number of nodes.
    """
    low, high = integral.ends.sigma.log().tolist()
    places, weights = np.polynomial.legendre.leggauss(integral.points)
    for index, (place, weight) in enumerate(zip(places.tolist(), weights.tolist(), strict=True)):
        log_sigma = low + (high - low) * (1 + place) / 2
        sigma = torch.full_like(integral.x0[:, 0], log_sigma, dtype=torch.float64).exp()
        yield _point(integral, index, integral.noise.at_sigma(sigma), sigma * (high - low) / 2 * weight * len(places))


def independent(integral: Integral) -> Iterator[Point]:
    """Points for any graph: independent times, uniform between the ends."""
    for index in range(integral.points):
        yield _at_time(integral, index, integral.uniform(index))


def stratified(integral: Integral) -> Iterator[Point]:
    """Points for any graph: one time in each of `points` equal parts of the times between the ends."""
    for index in range(integral.points):
        yield _at_time(integral, index, (index + integral.uniform(index)) / integral.points)


def low_discrepancy(integral: Integral) -> Iterator[Point]:
    """Points for any graph: one time per sequence in each of as many equal parts as its batch has sequences.

    Source: "low-discrepancy sampler" of MDLM (arXiv 2406.07524, appendix C.3) and Duo.
    """
    for index in range(integral.points):
        yield _at_time(integral, index, (integral.strata.number + integral.uniform(index)) / integral.strata.of)


def _at_time(integral: Integral, index: int, u: Float64[Tensor, " B"]) -> Point:
    start, end = integral.ends.t
    level = integral.noise(start + (end - start) * u)
    return _point(integral, index, level, level.rate * (end - start))


def _point(integral: Integral, index: int, level: NoiseLevel, weight: Float64[Tensor, " B"]) -> Point:
    """A point of the diffusion term."""
    zero = torch.zeros_like(weight)
    return Point(integral.graph.perturb(integral.x0, level, integral.draws.at(index)), level, weight, zero, zero)


ESTIMATORS: dict[str, Estimator] = {
    "exact_k": by_mask_count,
    "lambda": by_lambda,
    "log_sigma": by_noise,
    "quadrature": by_nodes,
    "independent": independent,
    "stratified": stratified,
    "low_discrepancy": low_discrepancy,
}
"""Estimators of the integral by name."""
WHOLE = ("exact_k", "lambda")
"""Estimators of graphs whose noise is all masking, which integrate from sigma 0 to infinity."""
DESCRIPTIONS = {
    "exact_k": "number of masks, stratified over the points",
    "lambda": "1 - exp(-sigma), stratified over the batch",
    "log_sigma": "log sigma, stratified over the points",
    "quadrature": "Gauss-Legendre nodes in log sigma",
    "independent": "independent times",
    "stratified": "times stratified over the points",
    "low_discrepancy": "times stratified over the batch",
}
"""What each estimator draws, in a few words."""


def check_name(setting: str, name: str, names: Sequence[str]) -> None:
    """Check a name that a setting takes.

    Args:
        setting: Name of the setting.
        name: Its value.
        names: Names that exist.

    Raises:
        ValueError: The name is not one of them.
    """
    if name not in names:
        raise ValueError(f"{setting} '{name}' does not exist.{nearest(name, names)} There are: {', '.join(names)}")


def estimator_for(name: str, graph: Graph) -> str:
    """The estimator of a name for a graph: itself, or what `auto` stands for.

    Args:
        name: Name of the estimator, or auto.
        graph: Forward process.

    Raises:
        UserError: The estimator is one of masks alone, and the graph's noise is not.
    """
    masking = masks_only(graph)
    if name == "auto":
        return "exact_k" if masking else "log_sigma"
    if name in WHOLE and not masking:
        raise UserError(
            f"estimator={name} needs a graph whose noise is all masking, but {type(graph).__name__} has other noise: "
            f"set estimator to auto or one of {', '.join(other for other in ESTIMATORS if other not in WHOLE)}."
        )
    return name
