"""The Euler sampler: an explicit first-order step of the reverse process."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import FactorizedSampler, Graph, Sampler, Step, StepWeights


class Euler(FactorizedSampler):
    """Euler's method: p(y) = 1{y = x} + dt dsigma/dt Q_reverse(x -> y) at each position (SEDD, equation 18).

    A negative probability of staying is clipped to 0, and the excess is counted in `stats`.
    """

    order = 1.0
    marginal = "followed at first order"

    def step_weights(self, x: Int[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph) -> StepWeights:
        """dt dsigma/dt Q(y -> x) s_y for y != x; the remainder of probability one, at least 0, for y = x."""
        dt = step.level.t - step.level_next.t
        rate = graph.reverse_rate(x, score, step.level) * (dt * step.level.rate)[:, None]
        own = score.gather(-1, x[:, None]).double()  # 1, up to the factor of a row
        staying = (own + rate.gather(-1, x[:, None])).clamp(min=0)
        return StepWeights(rate.scatter(-1, x[:, None], staying), own[:, 0])


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return Euler
