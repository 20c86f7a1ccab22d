"""The greedy-tail sampler: analytic steps, then the likeliest token at every position in place of the last draw."""

from __future__ import annotations

from jaxtyping import Float, Int, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.maths import Draws, row_scores
from sedd_core.stages import FactorizedSampler, Graph, NoiseLevel, Sampler, ScoreFunction, Step, StepWeights


class GreedyTail(FactorizedSampler):
    """Analytic steps, and a last one to the likeliest clean tokens given all other positions.

    On uniform, that disregards the current state of a position. Samples do not have the model's distribution: no order
    of convergence is stated.

    Source: Sahoo et al., The Diffusion Duality (arXiv 2506.10892), appendix on samplers; for absorb, the noise removal
        of MDLM's code.
    """

    marginal = "followed at first order; the end is another"

    def step_weights(self, x: Int[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph) -> StepWeights:
        """The graph's posterior weights between the noise levels before and after the step."""
        return graph.posterior_weights(x, score, *step)

    def denoise(
        self, x: Int64[Tensor, "B L"], level: NoiseLevel, score_fn: ScoreFunction, graph: Graph, draws: Draws
    ) -> Int64[Tensor, "B L"]:
        """The likeliest token of the mean at every position that can move; nothing is drawn."""
        positions = graph.reachable(x, level)
        current, log_score = x[positions], score_fn(x, level, positions)
        mean = graph.mean_from_score(row_scores(log_score, current), current, level.at(x, positions))
        self.stats.calls += 1
        return x.masked_scatter(positions, mean.argmax(-1))


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return GreedyTail
