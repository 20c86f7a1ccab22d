"""The likelihood bound: all of its terms, with standard errors.

    -log p(x0) <= integral of E[score entropy] d sigma over [sigma_min, sigma_max]    (diffusion)
                  + E[-log p(x0 | x at sigma_min)]                                    (reconstruction)
                  + KL(q(. | x0) at sigma_max || prior)                               (prior)

(SEDD, theorem 3.6 and appendix.) The integral is over the noise level, so the schedule enters only by its two ends.
If all noise is masking, the integral is extended to sigma = 0 and infinity with the network's noise level clamped to
the ends: the reconstruction and prior terms become 0, and the cost of the two extensions is reported in their place.
Sequences that can be in a state which the prior excludes have no finite prior term; there the integral is extended
to infinity with the network's output at sigma_max, carried on by the process, and is reported as the prior term.

With tokens outside of a loss mask, the bound is conditional on them: only unknown positions are noised and summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ..maths.draws import Draws
from ..stages import Batch, Graph, Noise, NoiseLevel, ScoreNetwork
from ..stages.data import restore_given
from .estimators import DESCRIPTIONS, ESTIMATORS, TERMS, WHOLE, Integral, Method, Strata, check_name, estimator_for
from .integrand import beyond, held_entropy, log_denoised
from .result import Bound, Pooling, Terms, merge

__all__ = ["Bound", "Estimation", "Piece", "Terms", "estimate", "merge", "prior_term", "terms"]


@torch.no_grad()
def terms(
    model: ScoreNetwork,
    noise: Noise,
    batch: Batch,
    draws: Draws,
    *,
    points: int,
    t_min: float,
    method: Method | None = None,
    strata: Strata | None = None,
) -> Terms:
    """Estimate each term of the bound for each sequence of a batch, without bias (quadrature: but for its nodes).

    Args:
        model: The score model.
        noise: The noise schedule.
        batch: Sequences [B, L].
        draws: Uniform numbers for these sequences.
        points: Number of noise levels drawn per sequence.
        t_min: Time of sigma_min; sigma_max is at the method's t_max.
        method: Estimator and parts of the bound; None: the defaults.
        strata: Strata of the sequences, for times stratified over a batch; None: this batch is that one.
    """
    method = method or Method()
    x0, graph = batch.tokens, model.graph
    unknown = batch.full_loss_mask()
    scored = unknown & batch.full_text_mask() if method.scored == "text" else unknown
    ends = noise(torch.tensor([t_min, method.t_max], dtype=torch.float64, device=x0.device))
    name = estimator_for(method.estimator, graph)
    wanted = [term not in method.left_out for term in TERMS]
    sums = torch.zeros(3, len(x0), dtype=torch.float64, device=x0.device)
    integral = Integral(graph, noise, x0, unknown, ends, draws, points, strata or _of_this_batch(x0))
    for point in ESTIMATORS[name](integral) if wanted[0] or name in WHOLE else ():
        x = restore_given(point.x, x0, batch.loss_mask)
        positions = graph.reachable(x, point.level) & scored
        level = given_clean(point.level, x0, batch.loss_mask, method)
        entropy = model.score_entropy(x, x0, level, positions, batch.cond, batch.documents)
        weights = torch.stack([point.diffusion, point.reconstruction, point.prior])
        sums += torch.where(weights > 0, weights * entropy, 0.0) / points  # the entropy may be infinite
    if name not in WHOLE:
        low, high = ends.pick(0).at(x0[:, 0]), ends.pick(1).at(x0[:, 0])
        if wanted[1]:
            x = restore_given(graph.perturb(x0, low, draws.at(points)), x0, batch.loss_mask)
            clean = None if batch.loss_mask is None or method.given_noise == "same" else ~batch.loss_mask
            sums[1] = -log_denoised(model, x, x0, low, scored, batch.cond, batch.documents, clean)
        if wanted[2]:
            sums[2] = prior_term(model, noise, batch, high, draws.part("beyond"), points, method)
    return Terms(*(part if use else torch.zeros_like(part) for part, use in zip(sums, wanted, strict=True)))


def _of_this_batch(x0: Int64[Tensor, "B L"]) -> Strata:
    index = torch.arange(len(x0), device=x0.device)
    return Strata(index, torch.full_like(index, len(x0)))


def given_clean(
    level: NoiseLevel, x0: Int64[Tensor, "B L"], loss_mask: Bool[Tensor, "B L"] | None, method: Method
) -> NoiseLevel:
    """The level that the network receives: that of clean data at given tokens, if the method says so."""
    if loss_mask is None or method.given_noise == "same":
        return level
    level = level.at(x0)
    return level._replace(t=level.t.where(loss_mask, 0.0), sigma=level.sigma.where(loss_mask, 0.0))


def prior_term(
    model: ScoreNetwork,
    noise: Noise,
    batch: Batch,
    end: NoiseLevel,
    draws: Draws,
    points: int,
    method: Method,
) -> Float64[Tensor, " B"]:
    """KL(q(. | x0) || prior) at the last level; where it is infinite, the integral from there to infinite noise."""
    x0, graph, loss_mask = batch.tokens, model.graph, batch.full_loss_mask()
    if method.scored == "text":
        loss_mask = loss_mask & batch.full_text_mask()
    finite = (graph.has_finite_prior(x0, end) | ~loss_mask).all(-1)
    prior = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
    if finite.any():
        prior[finite] = graph.prior_kl(x0[finite], end.pick(finite)).where(loss_mask[finite], 0.0).sum(-1)
    seen = given_clean(end, x0, batch.loss_mask, method)
    for point in beyond(graph, noise, x0, end, draws, 0 if finite.all() else points):
        x = restore_given(point.x, x0, batch.loss_mask)
        positions = loss_mask & graph.reachable(x, point.level)
        entropy = held_entropy(model, x, x0, point.level, seen, positions, batch.cond, batch.documents)
        prior += (point.prior * entropy / points).where(~finite, 0.0)
    return prior


class Piece(NamedTuple):
    """Sequences of a set, as one network call takes them."""

    indices: Int64[Tensor, " B"]
    """Indices of the sequences in their split, which address their draws."""
    order: Int64[Tensor, " B"]
    """Positions of the sequences among those of the estimate, by which batches of a protocol are cut."""
    batch: Batch
    """The sequences."""


@dataclass(frozen=True, kw_only=True)
class Estimation:
    """Settings of an estimate over a set of sequences."""

    seed: int
    """Random seed."""
    points: int
    """Number of noise levels per sequence and repeat."""
    t_min: float
    """Smallest diffusion time."""
    repeats: int = 1
    """Number of independent repetitions, whose spread is the standard error over draws."""
    total: int = 0
    """Number of sequences in the set, of all processes."""
    batch: int = 0
    """Number of sequences per batch of a protocol whose estimator is stated over batches; 0: one batch."""
    pooling: Pooling = "tokens"
    """Ratio that is reported: see `Bound.pooling`."""
    method: Method = field(default_factory=Method)
    """Estimator and parts of the bound."""

    def __post_init__(self) -> None:
        for name, value in (("points", self.points), ("repeats", self.repeats)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.batch < 0:
            raise ValueError(f"batch must be at least 0, not {self.batch}")
        check_name("pooling", self.pooling, ("tokens", "batches"))
        if not 0 < self.t_min < self.method.t_max:
            raise ValueError(f"t_min must lie between 0 and t_max ({self.method.t_max}), not {self.t_min}")

    def describe(self, graph: Graph) -> str:
        """What is estimated, and how, in one line.

        Args:
            graph: Forward process.

        Raises:
            UserError: The estimator does not suit the graph.
        """
        name, method = estimator_for(self.method.estimator, graph), self.method
        repeats = "" if self.repeats == 1 else f" x {self.repeats} repeats"
        parts = [f"{self.points} noise levels per sequence{repeats} ({name}: {DESCRIPTIONS[name]})"]
        parts += [f"batches of {self.batch} by index"] if self.batch else []
        parts += ["mean of the batches' values"] if self.pooling == "batches" else []
        parts += [f"without {' and '.join(method.left_out)}"] if method.left_out else []
        parts += ["padding noised, not scored"] if method.scored == "text" else []
        parts += ["given tokens shown as clean"] if method.given_noise == "none" else []
        return ", ".join(parts)

    def strata(self, order: Int64[Tensor, " B"]) -> tuple[Int64[Tensor, " B"], Strata]:
        """The batch [B] of sequences at these positions in the set, and their strata in it."""
        size = self.batch or max(self.total, 1)
        number = order // size
        return number, Strata(order % size, (self.total - number * size).clamp(max=size))

    @property
    def batches(self) -> int:
        """Number of batches."""
        return -(-max(self.total, 1) // (self.batch or max(self.total, 1)))


def estimate(
    model: ScoreNetwork,
    noise: Noise,
    pieces: Iterator[Piece],
    sizes: Callable[[Batch], tuple[Int64[Tensor, " B"], Int64[Tensor, " B"]]],
    settings: Estimation,
) -> Bound:
    """Estimate the bound over sequences.

    Args:
        model: The score model.
        noise: The noise schedule.
        pieces: The sequences of this process.
        sizes: Function from a batch to the numbers [B] of characters and of bytes of each sequence.
        settings: Settings of the estimate.
    """
    parts: list[Terms] = []
    counts: list[tuple[Tensor, ...]] = []
    sums = torch.zeros(settings.repeats, 3, settings.batches, dtype=torch.float64)
    for indices, order, batch in pieces:
        numbers, strata = settings.strata(order)
        found = [
            torch.stack(
                terms(
                    model,
                    noise,
                    batch,
                    Draws(settings.seed, indices, parts=(f"repeat {repeat}",) if repeat else ()),
                    points=settings.points,
                    t_min=settings.t_min,
                    method=settings.method,
                    strata=strata,
                )
            ).cpu()
            for repeat in range(settings.repeats)
        ]
        sums.index_add_(2, numbers.cpu(), torch.stack(found))
        parts.append(Terms(*torch.stack(found).mean(0)))
        counts.append((batch.full_text_mask().sum(-1).cpu(), *sizes(batch), numbers.cpu(), order.cpu()))
    merged = Terms(*(torch.cat(term) for term in zip(*parts, strict=True)))
    tokens, characters, sized, numbers, places = (torch.cat(part) for part in zip(*counts, strict=True))
    return Bound(merged, tokens, characters, sized, numbers, sums, places, settings.pooling)
