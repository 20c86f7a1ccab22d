"""Samplers that update every position independently; one formula gives the exact distribution and the draw."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from ..maths.categorical import categorical, row_chunks, sharpen
from ..maths.draws import Draws
from ..maths.numerics import row_scores
from .graph import Graph
from .noise import NoiseLevel
from .sampler import Sampler, ScoreFunction, split_weights
from .step import Step, StepWeights


class FactorizedSampler(Sampler):
    """Abstract sampler that updates every position independently.

    A subclass implements `step_weights`, the weights of all states at the positions that can move. Both the exact
    distribution of a step (`step_distribution`, which the oracle propagates) and the draw (`step`) follow from it.
    With a temperature or top_p other than 1, samples do not converge to the model's distribution.

    Args:
        temperature: Temperature of the distribution of jump targets (power 1 / temperature); jump probabilities are
            unchanged.
        top_p: Share in (0, 1] of the jump targets' probability that is kept, most probable targets first.

    Raises:
        ValueError: temperature or top_p is out of range.
    """

    def __init__(self, *, temperature: float = 1.0, top_p: float = 1.0) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, not {temperature}")
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], not {top_p}")
        self.temperature, self.top_p = temperature, top_p

    @abstractmethod
    def step_weights(self, x: Int[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph) -> StepWeights:
        """Weights of each position's next state; the excess of their sum over `total` counts as clipped probability.

        Args:
            x: Current states [N].
            score: Scores [N, S], 1 at the current state, up to one positive factor per position (see
                `numerics.row_scores`). Use the current state's score in place of 1, so that the factor cancels.
            step: Noise levels [N] before and after the step.
            graph: The forward process.

        Returns:
            Weights [N, S], and their total [N] without clipping.
        """

    def reweight_targets(self, weights: Float[Tensor, "N S"], x: Int64[Tensor, " N"]) -> Float[Tensor, "N S"]:
        """Apply temperature and top_p to the weights of leaving; each position keeps their sum."""
        if self.temperature == 1 and self.top_p == 1:
            return weights
        stay = weights.gather(-1, x[:, None])
        targets = sharpen(weights.scatter(-1, x[:, None], 0.0), self.temperature, self.top_p)
        return targets.scatter(-1, x[:, None], stay)

    def step_distribution(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        level_next: NoiseLevel,
        score_fn: ScoreFunction,
        graph: Graph,
    ) -> Float[Tensor, "B L S"]:
        """The distribution [B, L, S] of each position after a step, for small state spaces. Args: see `step`."""
        positions = self.movable(x, level, graph)
        current, log_score = x[positions], score_fn(x, level, positions)
        step = Step(level.at(x, positions), level_next.at(x, positions))
        values, _ = self.step_weights(current, row_scores(log_score, current), step, graph)
        values = self.reweight_targets(values, current)
        probs = torch.nn.functional.one_hot(x, graph.num_states).to(values.dtype)
        probs[positions] = values / values.sum(-1, keepdim=True)
        return probs

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
        """Draw from `step_distribution`: first whether each position moves, then its target."""
        positions = self.movable(x, level, graph)
        current, log_score = x[positions], score_fn(x, level, positions)
        now, then = level.at(x, positions), level_next.at(x, positions)
        move, target = (draws.uniform(stream, x.shape[1])[positions] for stream in ("move", "target"))
        moved = current.clone()
        for part in row_chunks(*log_score.shape):
            score = row_scores(log_score[part], current[part])
            weights = self.step_weights(current[part], score, Step(now.pick(part), then.pick(part)), graph)
            moved[part] = self._draw(current[part], weights, move[part], target[part])
        self.stats.calls += 1
        return x.masked_scatter(positions, moved)

    def _draw(
        self,
        x: Int64[Tensor, " N"],
        weights: StepWeights,
        move: Float64[Tensor, " N"],
        target: Float64[Tensor, " N"],
    ) -> Int64[Tensor, " N"]:
        """Draw each position's next state [N] from two uniform numbers: whether it moves, and its target."""
        # Drawn separately: next to `stay`, small probabilities of targets would be lost to rounding.
        stay, leave, elsewhere = split_weights(weights.values, x)
        self.stats.add(leave, stay, weights.total)
        moves = move * (leave + stay) < leave
        targets = self.reweight_targets(elsewhere[moves], x[moves])
        return x.masked_scatter(moves, categorical(targets, target[moves]))
