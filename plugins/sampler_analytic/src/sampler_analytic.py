"""The analytic step: the posterior of each position, as if the others stood still."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import FactorizedSampler, Graph, Sampler, Step, StepWeights


class Analytic(FactorizedSampler):
    """Tweedie tau-leaping: each position by its exact posterior given the scores (SEDD, theorem 4.2).

    First order, and exact for one position alone. Negative probabilities are set to 0; the excess is counted.
    """

    order = 1.0

    def step_weights(
        self, x: Int64[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph
    ) -> StepWeights:
        """The graph's posterior weights from the noise now to the noise after the step."""
        return graph.posterior_weights(x, score, step.now.sigma, step.then.sigma)


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return Analytic
