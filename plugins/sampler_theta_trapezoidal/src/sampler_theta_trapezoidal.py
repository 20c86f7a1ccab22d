"""The theta-trapezoidal sampler: a leap to a point inside of the step, and a second one that corrects its rates."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.evaluation import masks_only
from sedd_core.maths import Draws, categorical, log1mexp
from sedd_core.stages import Graph, NoiseLevel, Sampler, ScoreFunction, Step

LARGEST = 60.0
"""Largest log-score that is used: above it a jump is certain, and float32 must not overflow."""


class ThetaTrapezoidal(Sampler):
    """Two tau-leaps per step of length Delta: theta Delta at the rates mu of the start, which leads to x*; then
    (1 - theta) Delta at [a_1 mu* - a_2 mu]_+, with the rates mu* at x* and the noise level of the first leap's end.

    a_1 = 1 / (2 theta (1 - theta)), a_2 = a_1 - 1; mu is subtracted only where the first leap did not jump. Without the
    positive part the error of a step is of third order; with it, samples converge at first order in general, with a
    smaller constant than those of tau-leaping, and at second order where it never acts. Delta is in a clock that nearly
    cancels the dependence of rates on noise: log sigma; with a process that only masks, log(1 - exp(-sigma)), exactly.

    Args:
        theta: Share in (0, 1) of a step that the first leap takes.

    Raises:
        ValueError: theta is out of range.

    Source: Ren et al., Fast Solvers for Discrete Diffusion Models (arXiv 2502.00234).
    """

    order = 1.0
    calls = "2 per step"
    marginal = "followed: at second order where no rate is clipped, else at first order"

    def __init__(self, *, theta: float = 0.5) -> None:
        super().__init__()
        if not 0 < theta < 1:
            raise ValueError(f"theta must lie in (0, 1), not {theta}")
        self.theta = theta

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
        """The two leaps. Args: see `Sampler.step`."""
        middle, elapsed = self.middle(Step(level, level_next), graph)
        elapsed, positions = elapsed.view(len(x), -1).expand(x.shape), graph.reachable(x, level)
        if not positions.any():
            return x
        rate = self.rate(x, level, positions, score_fn, graph)
        first = _leap(x, positions, rate, self.theta * elapsed, draws.part("first"))
        self.stats.calls += 1
        again = graph.reachable(first, middle)
        if not again.any():
            return first
        before = rate.new_zeros(*x.shape, graph.num_states)
        unmoved = first == x
        before[positions & unmoved] = rate[unmoved[positions]]
        rate = self.combined(before[again], self.rate(first, middle, again, score_fn, graph))
        self.stats.calls += 1
        return _leap(first, again, rate, (1 - self.theta) * elapsed, draws.part("second"))

    def middle(self, step: Step, graph: Graph) -> tuple[NoiseLevel, Float64[Tensor, "*shape"]]:
        """The noise level after a share theta of the step, and the whole step's length on the clock.

        Args:
            step: Noise levels before and after the step.
            graph: The forward process.
        """
        start, end = (_clock(level.sigma, graph) for level in step)
        here = start - self.theta * (start - end)
        sigma = -log1mexp(-here) if masks_only(graph) else here.exp()
        return step.level.between(step.level_next, sigma), start - end

    def rate(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        positions: Bool[Tensor, "B L"],
        score_fn: ScoreFunction,
        graph: Graph,
    ) -> Float[Tensor, "N S"]:
        """Reverse rates mu per unit of the clock at the N positions; 0 at the current state. Args: see `step`."""
        current, level_here = x[positions], level.at(x, positions)
        score = score_fn(x, level, positions).clamp(max=LARGEST).exp()
        rate = graph.reverse_rate(current, score, level_here).scatter(-1, current[:, None], 0.0)
        sigma = level_here.sigma
        per_clock = torch.expm1(sigma) if masks_only(graph) else sigma
        return rate * per_clock[:, None].to(rate.dtype)

    def combined(self, rate: Float[Tensor, "*shape S"], second: Float[Tensor, "*shape S"]) -> Float[Tensor, "*shape S"]:
        """[a_1 mu* - a_2 mu]_+.

        Args:
            rate: Rates mu of the start, 0 where the first leap jumped.
            second: Rates mu*.
        """
        factor = 1 / (2 * self.theta * (1 - self.theta))
        return (factor * second - (factor - 1) * rate).clamp(min=0)


def _leap(
    x: Int64[Tensor, "B L"],
    positions: Bool[Tensor, "B L"],
    rate: Float[Tensor, "N S"],
    time: Float64[Tensor, "B L"],
    draws: Draws,
) -> Int64[Tensor, "B L"]:
    """At most one jump at each of the N positions, with probability 1 - exp(-time sum_y mu_y), to y in proportion."""
    move, target = (draws.uniform(stream, x.shape[1])[positions] for stream in ("move", "target"))
    moving = move < -torch.expm1(-time[positions] * rate.sum(-1, dtype=torch.float64))
    moved = x[positions].masked_scatter(moving, categorical(rate[moving], target[moving]))
    return x.masked_scatter(positions, moved)


def _clock(sigma: Float64[Tensor, "*shape"], graph: Graph) -> Float64[Tensor, "*shape"]:
    """The time in which steps are divided."""
    return log1mexp(sigma) if masks_only(graph) else sigma.log()


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return ThetaTrapezoidal
