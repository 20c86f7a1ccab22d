"""The sampler stage: how a sequence at time t becomes one at an earlier time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from ..errors import UserError
from ..maths.categorical import categorical, row_chunks
from ..maths.draws import Draws
from ..maths.numerics import expand_to, row_scores
from .graph import Graph, StepWeights
from .noise import Noise


@runtime_checkable
class ScoreFunction(Protocol):
    """The model as a sampler sees it; guidance, temperature or caching wrap it."""

    def __call__(
        self, x: Int64[Tensor, "B L"], t: Float64[Tensor, "..."], positions: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        """Log-scores [B, L, S] at times t, or [N, S] at the N set `positions`; 0 at the current state."""
        ...


class FixedTokens(NamedTuple):
    """Tokens [B, L] that are fixed, at `positions` [B, L]."""

    tokens: Int64[Tensor, "B L"]
    positions: Bool[Tensor, "B L"]

    def apply(self, x: Int64[Tensor, "B L"]) -> Int64[Tensor, "B L"]:
        """x with the known tokens in their places."""
        return torch.where(self.positions, self.tokens, x)


@dataclass
class SamplerStats:
    """What a sampler did since it was made: network calls, rows drawn, probability that was clipped.

    clipped: a sum over rows of how much of the law that was drawn from lay beyond probability one. Rows that cannot
    leave their state, such as given tokens, are not counted.
    """

    calls: int = 0
    positions: int = 0
    clipped: float = 0.0

    def add(self, leave: Float64[Tensor, " N"], stay: Float64[Tensor, " N"], total: Float64[Tensor, " N"]) -> None:
        """Count N rows whose weights of leaving and staying should sum to `total`, and the share of them beyond it.

        UserError where there are none to draw from.
        """
        mass = leave + stay
        excess = (1 - total / mass.masked_fill(mass == 0, 1.0)).clamp(min=0).sum()
        clipped, moving = torch.stack([excess, (leave > 0).sum().double()]).tolist()
        if not math.isfinite(clipped):
            raise UserError(
                "The model produced NaN or infinite scores, from which nothing can be drawn: its training has "
                "diverged, or its weights are damaged. Use an earlier checkpoint."
            )
        self.positions += int(moving)
        self.clipped += clipped

    def __add__(self, other: SamplerStats) -> SamplerStats:
        """What both did."""
        return SamplerStats(self.calls + other.calls, self.positions + other.positions, self.clipped + other.clipped)

    @property
    def clipped_per_position(self) -> float:
        """Of the mean row, between 0 and 1."""
        return self.clipped / max(self.positions, 1)


class Sampler(ABC):
    """A way from the prior to data, given scores.

    order: the power of the step size by which its law falls towards the true one, where known.
    calls_per_step: of the network.
    """

    order: ClassVar[float | None] = None
    calls_per_step: ClassVar[int] = 1

    def __init__(self) -> None:
        self.stats = SamplerStats()

    def incompatibility(self, graph: Graph) -> str | None:
        """Why this sampler cannot work with a graph, in words; None where it can, which is the default."""
        return None

    @abstractmethod
    def step(
        self,
        x: Int64[Tensor, "B L"],
        t: Float64[Tensor, "..."],
        t_next: Float64[Tensor, "..."],
        score_fn: ScoreFunction,
        noise: Noise,
        graph: Graph,
        draws: Draws,
    ) -> Int64[Tensor, "B L"]:
        """x at time t_next < t, given x at time t; times are [B] or [B, L].

        draws: addressed by sequence and step. The same stream asked for twice gives the same numbers: a step of
        several stages (a predictor and a corrector, two calls of another step) gives each `draws.part(name)`.
        """

    def reweight_targets(self, weights: Float[Tensor, "N S"], here: Int64[Tensor, " N"]) -> Float[Tensor, "N S"]:
        """Weights of each row's next state, `here` being the current one, with other odds of where a jump goes.

        Whether a row jumps stays as it is. Without a setting that says otherwise, so does everything.
        """
        return weights

    def denoise(
        self,
        x: Int64[Tensor, "B L"],
        t: Float64[Tensor, "..."],
        score_fn: ScoreFunction,
        noise: Noise,
        graph: Graph,
        draws: Draws,
    ) -> Int64[Tensor, "B L"]:
        """Clean tokens, given x at time t: one analytic step down to no noise at all, never to the mask."""
        positions = graph.reachable(x)
        here, log_score = x[positions], score_fn(x, t, positions)
        sigma = noise(expand_to(t, x)[positions]).sigma
        uniform = draws.uniform("denoise", x.shape[1])[positions]
        clean = here.clone()
        for part in row_chunks(*log_score.shape):
            values, total = _denoising_weights(here[part], log_score[part], sigma[part], graph)
            stay, leave, _ = split_weights(values, here[part])
            self.stats.add(leave, stay, total)
            probs = self.reweight_targets(_tokens_only(values, graph), here[part])
            clean[part] = categorical(probs, uniform[part])
        self.stats.calls += 1
        return x.masked_scatter(positions, clean)

    def run(
        self,
        x: Int64[Tensor, "B L"],
        times: Float64[Tensor, " steps_and_one"],
        score_fn: ScoreFunction,
        noise: Noise,
        graph: Graph,
        draws: Draws,
        fixed_tokens: FixedTokens | None = None,
        on_step: Callable[[Int64[Tensor, "B L"]], None] = lambda x: None,
    ) -> Int64[Tensor, "B L"]:
        """From x at times[0] down to clean tokens; given tokens are put back before, between and after all steps.

        on_step sees every state: the first, that after each step, and the result. An override may leave given tokens
        to `sampling.sample`, which enforces them from outside: what the network and on_step see, and the result.
        """
        keep = fixed_tokens.apply if fixed_tokens else lambda x: x
        x = keep(x)
        on_step(x)
        for index, (t, t_next) in enumerate(_intervals(times, len(x))):
            x = keep(self.step(x, t, t_next, score_fn, noise, graph, draws.at(index)))
            on_step(x)
        final = times[-1].expand(len(x))
        x = keep(self.denoise(x, final, score_fn, noise, graph, draws.at(len(times) - 1)))
        on_step(x)
        return x


def denoising_distribution(
    x: Int64[Tensor, "B L"], t: Float64[Tensor, "..."], score_fn: ScoreFunction, noise: Noise, graph: Graph
) -> tuple[Bool[Tensor, "B L"], Float[Tensor, "N S"]]:
    """p(x0_i | x at time t) at the positions that may differ from x, and which these are; no mass on the mask.

    A row is 0 where the scores leave no token possible.
    """
    positions = graph.reachable(x)
    sigma = noise(expand_to(t, x)[positions]).sigma
    values, _ = _denoising_weights(x[positions], score_fn(x, t, positions), sigma, graph)
    probs = _tokens_only(values, graph)
    total = probs.sum(-1, keepdim=True)
    return positions, probs / total.masked_fill(total == 0, 1.0)


def _denoising_weights(
    here: Int64[Tensor, " N"], log_score: Float[Tensor, "N S"], sigma: Float64[Tensor, " N"], graph: Graph
) -> StepWeights:
    return graph.posterior_weights(here, row_scores(log_score, here), sigma, torch.zeros_like(sigma))


def _tokens_only(values: Float[Tensor, "N S"], graph: Graph) -> Float[Tensor, "N S"]:
    """The same weights, 0 at the mask."""
    return (
        values if graph.mask is None else values.index_fill(-1, torch.tensor(graph.mask, device=values.device), 0.0)
    )


def split_weights(
    values: Float[Tensor, "N S"], here: Int64[Tensor, " N"]
) -> tuple[Float64[Tensor, " N"], Float64[Tensor, " N"], Float[Tensor, "N S"]]:
    """Weights of staying and of leaving, and those of leaving state by state."""
    stay = values.gather(-1, here[:, None])[:, 0].double()
    elsewhere = values.scatter(-1, here[:, None], 0.0)
    return stay, elsewhere.sum(-1, dtype=torch.float64), elsewhere


def _intervals(times: Float64[Tensor, " K"], batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    for t, t_next in pairwise(times):
        yield t.expand(batch), t_next.expand(batch)
