"""The sampler stage: simulates the reverse process from the prior to data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..maths.categorical import categorical, row_chunks
from ..maths.draws import Draws
from ..maths.numerics import row_scores
from .graph import Graph
from .noise import NoiseLevel
from .sampler_stats import SamplerStats
from .scores import ScoreFunction, lazy_scores
from .step import EventWeights, StepWeights, split_weights


class FixedTokens(NamedTuple):
    """Known tokens [B, L], valid at the selected `positions` [B, L]."""

    tokens: Int64[Tensor, "B L"]
    positions: Bool[Tensor, "B L"]

    def apply(self, x: Int64[Tensor, "B L"]) -> Int64[Tensor, "B L"]:
        """x [B, L] with the known tokens in place."""
        return torch.where(self.positions, self.tokens, x)


class Sampler(ABC):
    """Abstract sampler: simulates the reverse process from the prior to data. A subclass implements `step`."""

    order: ClassVar[float | None] = None
    """Order of convergence: the error of the sampled distribution falls as step size ** order; None: unknown."""
    calls: ClassVar[str] = "at most 1 per step"
    """Number of network calls, for the listing of plugins, as are the next two."""
    graphs: ClassVar[str] = "any"
    """Graphs that the sampler suits; `incompatibility` refuses others."""
    marginal: ClassVar[str] = "unknown"
    """Effect of a step on the distribution at its noise level, under exact scores."""

    def __init__(self) -> None:
        self.stats = SamplerStats()

    def incompatibility(self, graph: Graph) -> str | None:
        """The reason why this sampler does not support a graph, as a clause; None if it does."""
        return None

    def init(self, x: Int64[Tensor, "B L"], graph: Graph) -> Any:
        """The state of a run, such as a cache, which `step` may change in place; None unless overridden.

        Args:
            x: States [B, L] before the first step.
            graph: The forward process.
        """
        return None

    def movable(self, x: Int64[Tensor, "B L"], level: NoiseLevel, graph: Graph) -> Bool[Tensor, "B L"]:
        """Positions [B, L] that a step may change: those in reachable states, unless overridden (remasking)."""
        return graph.reachable(x, level)

    @abstractmethod
    def step(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        level_next: NoiseLevel,
        score_fn: ScoreFunction,
        graph: Graph,
        draws: Draws,
        state: Any = None,
    ) -> Int64[Tensor, "B L"]:
        """Draw states at the noise level `level_next`, given states at the higher `level`.

        Args:
            x: States [B, L] at `level`.
            level: Noise level [B] or [B, L].
            level_next: Noise level after the step, with the shape of `level`.
            score_fn: The model as log-scores.
            graph: The forward process.
            draws: Uniform numbers, addressed by sequence and step. A stream gives the same numbers at every use: a
                step with several stages (a predictor and a corrector) must use `draws.part(name)` for each.
            state: What `init` returned.

        Returns:
            States [B, L] at `level_next`.
        """

    def reweight_targets(self, weights: Float[Tensor, "N S"], x: Int64[Tensor, " N"]) -> Float[Tensor, "N S"]:
        """Change the distribution of jump targets at fixed jump probabilities; by default the identity.

        Args:
            weights: Weights [N, S] of each position's next state.
            x: Current states [N].

        Returns:
            Weights [N, S]; each row has the sum of its input.
        """
        return weights

    def denoise(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        score_fn: ScoreFunction,
        graph: Graph,
        draws: Draws,
    ) -> Int64[Tensor, "B L"]:
        """Draw clean tokens [B, L]: one analytic step to zero noise, never to the mask. Args: see `step`."""
        scores = lazy_scores(score_fn, x, level, graph.reachable(x, level))
        current, level = x.flatten()[scores.rows], level.at(x).flatten().pick(scores.rows)
        if len(current) == 0:
            return x
        uniform = draws.uniform("denoise", x.shape[1]).flatten()[scores.rows]
        clean, events = current.clone(), list[EventWeights]()
        for part in row_chunks(len(current), graph.num_states, x.device):
            weights = _denoising_weights(current[part], scores.log_score(part), level.pick(part), graph)
            events.append(split_weights(weights, current[part]))
            probs = self.reweight_targets(_tokens_only(weights.values, graph), current[part])
            clean[part] = categorical(probs, uniform[part])
        self.stats.add(events)
        self.stats.calls += 1
        return x.flatten().index_copy(0, scores.rows, clean).view(x.shape)

    def run(
        self,
        x: Int64[Tensor, "B L"],
        levels: NoiseLevel,
        score_fn: ScoreFunction,
        graph: Graph,
        draws: Draws,
        fixed_tokens: FixedTokens | None = None,
        on_step: Callable[[Int64[Tensor, "B L"]], None] = lambda x: None,
    ) -> Int64[Tensor, "B L"]:
        """Simulate the whole reverse process; fixed tokens are restored before, between and after all steps.

        An override may ignore fixed tokens: `sampling.sample` enforces them as well.

        Args:
            x: States [B, L] at the first level.
            levels: Decreasing noise levels [steps + 1].
            score_fn: The model as log-scores.
            graph: The forward process.
            draws: Uniform numbers.
            fixed_tokens: Known tokens; None: none.
            on_step: Callback that receives the initial state, the state after each step, and the result.

        Returns:
            Tokens [B, L].
        """
        keep = fixed_tokens.apply if fixed_tokens else lambda x: x
        x = keep(x)
        on_step(x)
        state, steps = self.init(x, graph), len(levels.sigma) - 1
        level = levels.pick(0).at(x[:, 0])
        for index in range(steps):
            level_next = levels.pick(index + 1).at(x[:, 0])
            x = keep(self.step(x, level, level_next, score_fn, graph, draws.at(index), state))
            on_step(x)
            level = level_next
        x = keep(self.denoise(x, level, score_fn, graph, draws.at(steps)))
        on_step(x)
        return x


def denoising_distribution(
    x: Int64[Tensor, "B L"], level: NoiseLevel, score_fn: ScoreFunction, graph: Graph
) -> tuple[Bool[Tensor, "B L"], Float[Tensor, "N S"]]:
    """p(x0_i | x at a noise level) at the positions that can change; 0 at the mask. Args: see `Sampler.step`.

    Returns:
        The positions [B, L], and their distributions [N, S]; a row is 0 if its scores forbid all tokens.
    """
    positions = graph.reachable(x, level)
    log_score = score_fn(x, level, positions)
    values, _ = _denoising_weights(x[positions], log_score, level.at(x, positions), graph)
    probs = _tokens_only(values, graph)
    total = probs.sum(-1, keepdim=True)
    return positions, probs / total.masked_fill(total == 0, 1.0)


def _denoising_weights(
    x: Int64[Tensor, " N"], log_score: Float[Tensor, "N S"], level: NoiseLevel, graph: Graph
) -> StepWeights:
    clean = level._replace(sigma=torch.zeros_like(level.sigma))
    return graph.posterior_weights(x, row_scores(log_score, x), level, clean)


def _tokens_only(values: Float[Tensor, "N S"], graph: Graph) -> Float[Tensor, "N S"]:
    """The weights, set to 0 at the mask."""
    if graph.mask is None:
        return values
    return values.index_fill(-1, torch.tensor(graph.mask, device=values.device), 0.0)
