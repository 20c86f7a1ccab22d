"""The Euler step of the reverse process."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import FactorizedSampler, Graph, Sampler, Step, StepWeights


class Euler(FactorizedSampler):
    """p_y = 1{y = x} + dt dsigma Q_reverse(x -> y) (SEDD, equation 18, Euler's method).

    First order. A negative probability of staying is set to 0; the excess is counted.
    """

    order = 1.0

    def step_weights(
        self, x: Int64[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph
    ) -> StepWeights:
        """dt dsigma Q(y -> x) s_y for y != x, and what is left of one for y = x."""
        rate = graph.reverse_rate(x, score) * (step.dt * step.now.rate)[:, None]
        here = score.gather(-1, x[:, None]).double()  # 1, but for the factor of a row
        staying = here + rate.gather(-1, x[:, None])
        values = rate.scatter(-1, x[:, None], staying.clamp(min=0))
        return StepWeights(values, here[:, 0])


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return Euler
