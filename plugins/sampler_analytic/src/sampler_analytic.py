"""The analytic sampler: each position is drawn from its posterior, with all others held fixed."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import FactorizedSampler, Graph, NoiseLevel, Sampler, StepWeights


class Analytic(FactorizedSampler):
    """Tweedie tau-leaping: each position is drawn from its exact posterior given the scores; first order.

    The step is exact for sequences of one position. Negative probabilities are clipped to 0, and the excess is
    counted in `stats`.

    Source: SEDD, theorem 4.2.
    """

    order = 1.0

    def step_weights(
        self,
        x: Int64[Tensor, " N"],
        score: Float[Tensor, "N S"],
        level: NoiseLevel,
        level_next: NoiseLevel,
        graph: Graph,
    ) -> StepWeights:
        """The graph's posterior weights between the noise levels before and after the step."""
        return graph.posterior_weights(x, score, level, level_next)


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return Analytic
