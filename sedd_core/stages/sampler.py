"""The sampler stage: simulates the reverse process from a time to an earlier one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
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
    """The model as samplers see it: log-scores as a function of time. Guidance or caching wrap it."""

    def __call__(
        self, x: Int64[Tensor, "B L"], t: Float64[Tensor, "..."], positions: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        """Log-scores of every state; 0 at the current state.

        Args:
            x: States [B, L].
            t: Times [B] or [B, L].
            positions: Positions [B, L] at which scores are needed; None: all.

        Returns:
            Log-scores [B, L, S], or [N, S] at the N set positions.
        """
        ...


class FixedTokens(NamedTuple):
    """Tokens [B, L] that are known, at the set `positions` [B, L]."""

    tokens: Int64[Tensor, "B L"]
    positions: Bool[Tensor, "B L"]

    def apply(self, x: Int64[Tensor, "B L"]) -> Int64[Tensor, "B L"]:
        """x [B, L] with the known tokens at their positions."""
        return torch.where(self.positions, self.tokens, x)


@dataclass
class SamplerStats:
    """Statistics of a sampler: network calls, positions drawn, probability clipped.

    `clipped` sums over positions how much of the distribution lay beyond probability one. Positions that cannot
    leave their state, such as fixed tokens, are not counted.
    """

    calls: int = 0
    positions: int = 0
    clipped: float = 0.0

    def add(self, leave: Float64[Tensor, " N"], stay: Float64[Tensor, " N"], total: Float64[Tensor, " N"]) -> None:
        """Count N positions, and the share of their weights beyond `total`.

        Args:
            leave: Weight [N] of leaving the current state.
            stay: Weight [N] of staying.
            total: What the two sum to [N] where nothing was clipped.

        Raises:
            UserError: Weights are not finite, so that nothing can be drawn.
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
        """The sum of two statistics."""
        return SamplerStats(self.calls + other.calls, self.positions + other.positions, self.clipped + other.clipped)

    @property
    def clipped_per_position(self) -> float:
        """Mean clipped probability per position, between 0 and 1."""
        return self.clipped / max(self.positions, 1)


class Sampler(ABC):
    """Abstract sampler: simulates the reverse process from the prior to data.

    `order` is the power of the step size by which the error of its distribution falls, where known; `calls_per_step`
    is the number of network calls per step.
    """

    order: ClassVar[float | None] = None
    calls_per_step: ClassVar[int] = 1

    def __init__(self) -> None:
        self.stats = SamplerStats()

    def incompatibility(self, graph: Graph) -> str | None:
        """The reason why this sampler cannot work with a graph, as a clause; None where it can."""
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
        """Draw states at time t_next < t, given states at time t.

        Args:
            x: States [B, L] at time t.
            t: Times [B] or [B, L].
            t_next: Times after the step, of the shape of t.
            score_fn: Log-scores.
            noise: The noise schedule.
            graph: The forward process.
            draws: Uniform numbers, addressed by sequence and step. The same stream gives the same numbers each time:
                a step of several stages (a predictor and a corrector) uses `draws.part(name)` for each.

        Returns:
            States [B, L] at time t_next.
        """

    def reweight_targets(self, weights: Float[Tensor, "N S"], here: Int64[Tensor, " N"]) -> Float[Tensor, "N S"]:
        """Change the distribution of jump targets; the default changes nothing. Jump probabilities stay as they are.

        Args:
            weights: Weights [N, S] of each position's next state.
            here: Current states [N].
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
        """Draw clean tokens, given states at time t: one analytic step to zero noise, never to the mask."""
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
        """Simulate the whole reverse process; fixed tokens are restored before, between and after all steps.

        An override may ignore fixed tokens: `sampling.sample` enforces them from outside.

        Args:
            x: States [B, L] at times[0].
            times: Falling times [steps + 1].
            score_fn: Log-scores.
            noise: The noise schedule.
            graph: The forward process.
            draws: Uniform numbers.
            fixed_tokens: Known tokens.
            on_step: Called with every state: the first, that after each step, and the result.
        """
        keep = fixed_tokens.apply if fixed_tokens else lambda x: x
        x = keep(x)
        on_step(x)
        for index, (t, t_next) in enumerate(pairwise(times[:, None].expand(-1, len(x)))):
            x = keep(self.step(x, t, t_next, score_fn, noise, graph, draws.at(index)))
            on_step(x)
        final = times[-1].expand(len(x))
        x = keep(self.denoise(x, final, score_fn, noise, graph, draws.at(len(times) - 1)))
        on_step(x)
        return x


def denoising_distribution(
    x: Int64[Tensor, "B L"], t: Float64[Tensor, "..."], score_fn: ScoreFunction, noise: Noise, graph: Graph
) -> tuple[Bool[Tensor, "B L"], Float[Tensor, "N S"]]:
    """p(x0_i | x at time t) at the positions that may differ from x; 0 at the mask. Arguments: see `Sampler.step`.

    Returns:
        The positions [B, L], and their distributions [N, S]; a row is 0 where the scores make every token impossible.
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
    """The weights of staying [N], of leaving [N], and of leaving for each state [N, S]."""
    stay = values.gather(-1, here[:, None])[:, 0].double()
    elsewhere = values.scatter(-1, here[:, None], 0.0)
    return stay, elsewhere.sum(-1, dtype=torch.float64), elsewhere
