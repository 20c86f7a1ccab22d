"""Classifier-free guidance: analytic steps under the condition, pushed away from steps without it."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from sedd_core import UserError, hookimpl
from sedd_core.maths import Draws, categorical, row_chunks, row_scores
from sedd_core.stages import (
    ConditionalScoreFunction,
    FactorizedSampler,
    Graph,
    NoiseLevel,
    Sampler,
    ScoreFunction,
    Step,
    StepWeights,
)

Form = Literal["posterior", "rate"]


class Guided(FactorizedSampler):
    """Steps of q_cond^gamma q_uncond^(1 - gamma) at each position, normalized; or of rates, the same powers of rates.

    Gamma 1 is the conditional model, with one network call per step; 0 the unconditional one; above 1, samples fit the
    condition better than the data does, and are less diverse.

    Args:
        gamma: Strength of guidance, at least 0.
        form: Quantity that is guided: the posterior of a step (D-CFG), or the reverse rates, thus the scores, from
            which the step is then made.
        temperature: Temperature of the distribution of jump targets.
        top_p: Share in (0, 1] of the jump targets' probability that is kept.

    Raises:
        ValueError: gamma, temperature or top_p is out of range.

    Source: posterior: Schiff et al., Simple Guidance Mechanisms for Discrete Diffusion Models (arXiv 2412.10193); rate:
        Nisonoff et al., Unlocking Guidance for Discrete State-Space Diffusion and Flow Models (arXiv 2406.01572).
    """

    calls = "2 per step; 1 with gamma 1 or 0"
    marginal = "followed at first order with gamma 1 or 0; otherwise sharpened towards the condition"

    def __init__(
        self, *, gamma: float = 2.0, form: Form = "posterior", temperature: float = 1.0, top_p: float = 1.0
    ) -> None:
        super().__init__(temperature=temperature, top_p=top_p)
        if not 0 <= gamma < math.inf:
            raise ValueError(f"gamma must be at least 0 and finite, not {gamma}")
        self.gamma, self.form = gamma, form

    def step_weights(self, x: Int[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph) -> StepWeights:
        """The graph's posterior weights, of one of the two models or of guided scores."""
        return graph.posterior_weights(x, score, *step)

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
        """Draw from the guided distribution of a step."""
        probs = self.step_distribution(x, level, level_next, score_fn, graph)[
            positions := self.movable(x, level, graph)
        ]
        return _drawn(x, positions, probs, draws.uniform("target", x.shape[1])[positions])

    def denoise(
        self, x: Int64[Tensor, "B L"], level: NoiseLevel, score_fn: ScoreFunction, graph: Graph, draws: Draws
    ) -> Int64[Tensor, "B L"]:
        """A guided step to zero noise, never to the mask."""
        clean = level._replace(sigma=torch.zeros_like(level.sigma))
        probs = self.step_distribution(x, level, clean, score_fn, graph)[positions := graph.reachable(x, level)]
        tokens = probs if graph.mask is None else probs.index_fill(-1, torch.tensor(graph.mask, device=x.device), 0.0)
        return _drawn(x, positions, tokens, draws.uniform("denoise", x.shape[1])[positions])

    def step_distribution(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        level_next: NoiseLevel,
        score_fn: ScoreFunction,
        graph: Graph,
    ) -> Float[Tensor, "B L S"]:
        """The guided distribution [B, L, S] of each position after a step. Args: see `Sampler.step`."""
        positions, probs = self.movable(x, level, graph), torch.nn.functional.one_hot(x, graph.num_states)
        current, step = x[positions], Step(level.at(x, positions), level_next.at(x, positions))
        scores = [function(x, level, positions) for function in self._functions(score_fn)]
        self.stats.calls += len(scores)
        values = torch.zeros_like(scores[0])
        for part in row_chunks(len(current), graph.num_states, x.device):
            own = [score[part] for score in scores]
            own = [self.guided(own)] if self.form == "rate" else own
            laws = [self._posterior(score, current[part], step.pick(part), graph).log() for score in own]
            values[part] = self.reweight_targets(self.guided(laws).softmax(-1), current[part])
        probs = probs.to(values.dtype)
        probs[positions] = values
        return probs

    def guided(self, logs: list[Float[Tensor, "N S"]]) -> Float[Tensor, "N S"]:
        """gamma times the first logarithm, 1 - gamma times the second, if there is one; -inf where one is."""
        if len(logs) == 1:
            return logs[0]
        impossible = torch.isneginf(logs[0]) | torch.isneginf(logs[1])
        return torch.lerp(logs[1], logs[0], self.gamma).masked_fill(impossible, -math.inf)

    def _functions(self, score_fn: ScoreFunction) -> list[ScoreFunction]:
        """The score functions with and without the condition, as far as they are needed."""
        if self.gamma == 1:
            return [score_fn]
        if not isinstance(score_fn, ConditionalScoreFunction):
            raise UserError("sampler_guided needs scores with and without a condition; these are of one kind alone.")
        return [score_fn, score_fn.unconditional()][self.gamma == 0 :]

    def _posterior(
        self, log_score: Float[Tensor, "N S"], x: Int64[Tensor, " N"], step: Step, graph: Graph
    ) -> Float[Tensor, "N S"]:
        values = self.step_weights(x, row_scores(log_score, x), step, graph).values
        return values / values.sum(-1, keepdim=True)


def _drawn(x: Tensor, positions: Tensor, probs: Tensor, uniform: Tensor) -> Tensor:
    """x with a draw at each position."""
    return x.masked_scatter(positions, categorical(probs, uniform)) if len(probs) else x


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return Guided
