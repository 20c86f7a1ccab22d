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
from ..maths.numerics import own_and_others, row_scores, row_scores_
from .graph import Graph
from .noise import NoiseLevel
from .overrides import of_one_class
from .sampler import Sampler
from .scores import ScoreFunction, lazy_scores
from .step import EventWeights, Step, StepWeights, split_weights


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

    def event_weights(
        self,
        x: Int[Tensor, " N"],
        own: Float64[Tensor, " N"],
        others: Float64[Tensor, " N"],
        step: Step,
        graph: Graph,
    ) -> EventWeights | None:
        """Weights of staying and of leaving, if they depend on the sum of other scores alone.

        With them, `step_weights` are computed only where positions move, which they must agree with; and if the sum
        is known without logits, so are logits.

        Args:
            x: Current states [N].
            own: Scores [N] of the current states.
            others: Sums [N] of the scores of all other states, up to the same factor per position.
            step: Noise levels [N] before and after the step.
            graph: The forward process.

        Returns:
            The weights; None (the default): `step_weights` are needed everywhere.
        """
        return None

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
        scores = lazy_scores(score_fn, x, level, self.movable(x, level, graph))
        rows = scores.rows
        current, step = x.flatten()[rows], Step(level.at(x).flatten(), level_next.at(x).flatten()).pick(rows)
        move, target = (draws.uniform(stream, x.shape[1]).flatten()[rows] for stream in ("move", "target"))
        moved, others, events = current.clone(), scores.others(), list[EventWeights]()
        known = None if others is None else self._known(current, torch.ones_like(others), others, step, graph)
        which = torch.arange(len(rows), device=x.device) if known is None else _moving(known, move)
        for part in row_chunks(len(which), graph.num_states, x.device):
            chosen = which[part]
            states, levels = current[chosen], step.pick(chosen)
            score = row_scores_(scores.log_score(chosen), states)
            if known is None:
                found, moving, values = self._events(states, score, levels, graph, move[chosen])
                events.append(found)
                chosen, states = chosen[moving], states[moving]
            else:
                values = self.step_weights(states, score, levels, graph).values
            moved[chosen] = self._targets(values, states, target[chosen])
        self.stats.add(events if known is None else [known])
        self.stats.calls += 1 if len(which) else 0
        return x.flatten().index_copy(0, rows, moved).view(x.shape)

    def _known(
        self,
        x: Int64[Tensor, " N"],
        own: Float64[Tensor, " N"],
        others: Float64[Tensor, " N"],
        step: Step,
        graph: Graph,
    ) -> EventWeights | None:
        """`event_weights`, unless a subclass has weights of its own without them."""
        agree = of_one_class(self, "event_weights", "step_weights")
        return self.event_weights(x, own, others, step, graph) if agree else None

    def _events(
        self, x: Int64[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph, move: Float64[Tensor, " N"]
    ) -> tuple[EventWeights, Int64[Tensor, " M"], Float[Tensor, "M S"]]:
        """The weights of staying and leaving; the positions that move, and their weights of all states."""
        events = self._known(x, *own_and_others(score, x), step, graph)
        if events is None:
            weights = self.step_weights(x, score, step, graph)
            events = split_weights(weights, x)
            moving = _moving(events, move)
            return events, moving, weights.values[moving]
        moving = _moving(events, move)
        return events, moving, self.step_weights(x[moving], score[moving], step.pick(moving), graph).values

    def _targets(
        self, values: Float[Tensor, "M S"], x: Int64[Tensor, " M"], uniform: Float64[Tensor, " M"]
    ) -> Int64[Tensor, " M"]:
        """Draw where positions move that leave their states x."""
        return categorical(self.reweight_targets(values.scatter(-1, x[:, None], 0.0), x), uniform)


def _moving(events: EventWeights, move: Float64[Tensor, " N"]) -> Int64[Tensor, " M"]:
    """Which positions move, given a uniform number each."""
    return (move * (events.leave + events.stay) < events.leave).nonzero()[:, 0]
