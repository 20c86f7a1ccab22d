"""Samplers that move every position independently: one formula gives the exact distribution and the draw."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ..maths.categorical import categorical, row_chunks, sharpen
from ..maths.draws import Draws
from ..maths.numerics import expand_to, row_scores
from .graph import Graph, StepWeights
from .noise import Noise, NoiseLevel
from .sampler import Sampler, ScoreFunction, split_weights


class Step(NamedTuple):
    """A step at each of N positions: the noise levels before and after it, and the time between."""

    now: NoiseLevel
    then: NoiseLevel
    dt: Float64[Tensor, " N"]

    @classmethod
    def between(cls, t: Float64[Tensor, " N"], t_next: Float64[Tensor, " N"], noise: Noise) -> Step:
        """The step from times t [N] down to t_next [N]."""
        return cls(noise(t), noise(t_next), t - t_next)


class FactorizedSampler(Sampler):
    """A sampler that moves every position independently.

    A variant implements `step_weights`, the weights of every state at the positions that can move. Both the exact
    distribution of a step (`step_distribution`, which the oracle propagates) and the draw (`step`) follow from them.
    With a temperature or top_p other than 1, samples no longer tend to the model's distribution.

    Args:
        temperature: Sharpens the distribution of jump targets (power 1 / temperature); jump probabilities are
            unchanged.
        top_p: Share of the jump targets' probability that is kept, the most probable targets first.
    """

    def __init__(self, *, temperature: float = 1.0, top_p: float = 1.0) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, not {temperature}")
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], not {top_p}")
        self.temperature, self.top_p = temperature, top_p

    @abstractmethod
    def step_weights(
        self, x: Int64[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph
    ) -> StepWeights:
        """Weights of each position's next state; what exceeds their `total` has been clipped, and is counted.

        Args:
            x: Current states [N].
            score: Scores [N, S]: 1 at the current state, up to one positive factor per position where scores would
                overflow or vanish (see `numerics.row_scores`). Write the current state's own score for 1, so that
                the factor cancels.
            step: The noise levels before and after the step.
            graph: The forward process.
        """

    def reweight_targets(self, weights: Float[Tensor, "N S"], here: Int64[Tensor, " N"]) -> Float[Tensor, "N S"]:
        """Sharpen the weights of leaving; each position keeps their sum."""
        if self.temperature == 1 and self.top_p == 1:
            return weights
        stay = weights.gather(-1, here[:, None])
        targets = sharpen(weights.scatter(-1, here[:, None], 0.0), self.temperature, self.top_p)
        return targets.scatter(-1, here[:, None], stay)

    def step_distribution(
        self,
        x: Int64[Tensor, "B L"],
        t: Float64[Tensor, "..."],
        t_next: Float64[Tensor, "..."],
        score_fn: ScoreFunction,
        noise: Noise,
        graph: Graph,
    ) -> Float[Tensor, "B L S"]:
        """The distribution [B, L, S] of each position after a step; for small state spaces."""
        positions = graph.reachable(x)
        step = Step.between(expand_to(t, x)[positions], expand_to(t_next, x)[positions], noise)
        values, _ = self.step_weights(x[positions], row_scores(score_fn(x, t, positions), x[positions]), step, graph)
        values = self.reweight_targets(values, x[positions])
        probs = torch.nn.functional.one_hot(x, graph.num_states).to(values.dtype)
        probs[positions] = values / values.sum(-1, keepdim=True)
        return probs

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
        """A draw from `step_distribution`: first whether a position moves, then where to."""
        positions = graph.reachable(x)
        here, log_score = x[positions], score_fn(x, t, positions)
        now, then = expand_to(t, x)[positions], expand_to(t_next, x)[positions]
        move, target = (draws.uniform(stream, x.shape[1])[positions] for stream in ("move", "target"))
        moved = here.clone()
        for part in row_chunks(*log_score.shape):
            step = Step.between(now[part], then[part], noise)
            score = row_scores(log_score[part], here[part])
            weights = self.step_weights(here[part], score, step, graph)
            moved[part] = self._draw(here[part], weights, move[part], target[part])
        self.stats.calls += self.calls_per_step
        return x.masked_scatter(positions, moved)

    def _draw(
        self,
        here: Int64[Tensor, " N"],
        weights: StepWeights,
        move: Float64[Tensor, " N"],
        target: Float64[Tensor, " N"],
    ) -> Int64[Tensor, " N"]:
        """Each position's next state, from two uniform numbers: whether it moves, and where to."""
        stay, leave, elsewhere = split_weights(
            weights.values, here
        )  # apart: next to `stay` small probabilities would drown
        self.stats.add(leave, stay, weights.total)
        moves = move * (leave + stay) < leave
        targets = self.reweight_targets(elsewhere[moves], here[moves])
        return here.masked_scatter(moves, categorical(targets, target[moves]))
