"""The analytic sampler: each position is drawn from its posterior, with all others held fixed."""

from __future__ import annotations

from jaxtyping import Float, Float64, Int
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import EventWeights, FactorizedSampler, Graph, Sampler, Step, StepWeights


class Analytic(FactorizedSampler):
    """Tweedie tau-leaping: each position is drawn from its posterior given the scores (SEDD, theorem 4.2).

    Exact for sequences of one position. Negative probabilities are clipped to 0, the excess is counted in `stats`.
    """

    order = 1.0
    marginal = "followed at first order"

    def step_weights(self, x: Int[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph) -> StepWeights:
        """The graph's posterior weights between the noise levels before and after the step."""
        return graph.posterior_weights(x, score, *step)

    def event_weights(
        self,
        x: Int[Tensor, " N"],
        own: Float64[Tensor, " N"],
        others: Float64[Tensor, " N"],
        step: Step,
        graph: Graph,
    ) -> EventWeights | None:
        """The graph's, where the sum of other scores determines them."""
        return graph.posterior_events(x, own, others, *step)


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return Analytic
