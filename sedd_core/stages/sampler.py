"""The sampler stage: how a sequence at time t becomes one at an earlier time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from ..categorical import categorical
from ..draws import Draws
from ..numerics import expand_to
from .graph import Graph, Weights
from .noise import Noise, NoiseLevel


@runtime_checkable
class TimedScore(Protocol):
    """The model as a sampler sees it; guidance, temperature or caching wrap it."""

    def __call__(
        self, x: Int64[Tensor, "B L"], t: Float64[Tensor, "..."], rows: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        """log-score at times t: [B, L, S], or [N, S] where `rows` is set (N positions); 0 at the current state."""
        ...


class Given(NamedTuple):
    """Tokens [B, L] that are known, where `where` [B, L] is set."""

    tokens: Int64[Tensor, "B L"]
    where: Bool[Tensor, "B L"]

    def put_back(self, x: Int64[Tensor, "B L"]) -> Int64[Tensor, "B L"]:
        """x with the known tokens in their places."""
        return torch.where(self.where, self.tokens, x)


@dataclass
class Counts:
    """What a sampler did since it was made: network calls, rows drawn, probability beyond one that was clipped."""

    calls: int = 0
    rows: int = 0
    clipped: float = 0.0

    @property
    def clipped_per_row(self) -> float:
        """Mean excess over probability one of a row's law."""
        return self.clipped / max(self.rows, 1)


class Sampler(ABC):
    """A way from the prior to data, given scores.

    order: the power of the step size by which its law falls towards the true one, where known.
    calls_per_step: of the network.
    """

    order: ClassVar[float | None] = None
    calls_per_step: ClassVar[int] = 1

    def __init__(self) -> None:
        self.counts = Counts()

    def misfit(self, graph: Graph) -> str | None:
        """Why this sampler cannot work with a graph, in words; None where it can, which is the default."""
        return None

    @abstractmethod
    def step(
        self,
        x: Int64[Tensor, "B L"],
        t: Float64[Tensor, "..."],
        t_next: Float64[Tensor, "..."],
        model: TimedScore,
        noise: Noise,
        graph: Graph,
        draws: Draws,
    ) -> Int64[Tensor, "B L"]:
        """x at time t_next < t, given x at time t; times are [B] or [B, L]."""

    def denoise(
        self,
        x: Int64[Tensor, "B L"],
        t: Float64[Tensor, "..."],
        model: TimedScore,
        noise: Noise,
        graph: Graph,
        draws: Draws,
    ) -> Int64[Tensor, "B L"]:
        """Clean tokens, given x at time t: one analytic step down to no noise at all, never to the mask."""
        rows, law = denoising_law(x, t, model, noise, graph)
        self.counts.calls += 1
        uniform = draws.uniform("denoise", x.shape[1])[rows]
        return x.masked_scatter(rows, categorical(law, uniform))

    def run(
        self,
        x: Int64[Tensor, "B L"],
        times: Float64[Tensor, " steps_and_one"],
        model: TimedScore,
        noise: Noise,
        graph: Graph,
        draws: Draws,
        given: Given | None = None,
        on_step: Callable[[Int64[Tensor, "B L"]], None] = lambda x: None,
    ) -> Int64[Tensor, "B L"]:
        """From x at times[0] down to clean tokens; given tokens are put back before, between and after all steps."""
        keep = given.put_back if given else lambda x: x
        x = keep(x)
        for index, (t, t_next) in enumerate(_intervals(times, len(x))):
            x = keep(self.step(x, t, t_next, model, noise, graph, draws.at(index)))
            on_step(x)
        final = times[-1].expand(len(x))
        return keep(self.denoise(x, final, model, noise, graph, draws.at(len(times) - 1)))


class Step(NamedTuple):
    """A step as seen at each of N rows: the noise now and after it, and the time between."""

    now: NoiseLevel
    then: NoiseLevel
    dt: Float64[Tensor, " N"]


class FactorisedSampler(Sampler):
    """A sampler that moves every position on its own.

    A variant states one thing, the `weights` of every state at the rows that can move. From them follow both the
    exact law of a step (`law`, which the oracle propagates) and the draw (`step`).
    """

    @abstractmethod
    def weights(self, x: Int64[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph) -> Weights:
        """Weights of each row's next state; what exceeds their `total` has been clipped, and is counted."""

    def law(
        self,
        x: Int64[Tensor, "B L"],
        t: Float64[Tensor, "..."],
        t_next: Float64[Tensor, "..."],
        model: TimedScore,
        noise: Noise,
        graph: Graph,
    ) -> Float[Tensor, "B L S"]:
        """The law of each position after a step; rows sum to 1."""
        rows, (values, _) = self._weights(x, t, t_next, model, noise, graph)
        law = torch.nn.functional.one_hot(x, graph.num_states).to(values.dtype)
        law[rows] = values / values.sum(-1, keepdim=True)
        return law

    def step(
        self,
        x: Int64[Tensor, "B L"],
        t: Float64[Tensor, "..."],
        t_next: Float64[Tensor, "..."],
        model: TimedScore,
        noise: Noise,
        graph: Graph,
        draws: Draws,
    ) -> Int64[Tensor, "B L"]:
        """A draw from `law`: first whether a position moves, then, where it does, where to."""
        rows, (values, total) = self._weights(x, t, t_next, model, noise, graph)
        here = x[rows]
        stay = values.gather(-1, here[:, None])[:, 0].double()
        values = values.scatter(-1, here[:, None], 0.0)
        leave = values.sum(-1, dtype=torch.float64)  # summed alone: next to `stay` small probabilities would drown
        self.counts.calls += self.calls_per_step
        self.counts.rows += len(here)
        self.counts.clipped += float(((leave + stay) / total - 1).clamp(min=0).sum())

        length = x.shape[1]
        moves = draws.uniform("move", length)[rows] * (leave + stay) < leave
        target = categorical(values[moves], draws.uniform("target", length)[rows][moves])
        return x.masked_scatter(rows, here.masked_scatter(moves, target))

    def _weights(
        self,
        x: Int64[Tensor, "B L"],
        t: Float64[Tensor, "..."],
        t_next: Float64[Tensor, "..."],
        model: TimedScore,
        noise: Noise,
        graph: Graph,
    ) -> tuple[Bool[Tensor, "B L"], Weights]:
        rows = graph.active(x)
        score = model(x, t, rows).exp()
        now, then = expand_to(t, x)[rows], expand_to(t_next, x)[rows]
        return rows, self.weights(x[rows], score, Step(noise(now), noise(then), now - then), graph)


def denoising_law(
    x: Int64[Tensor, "B L"], t: Float64[Tensor, "..."], model: TimedScore, noise: Noise, graph: Graph
) -> tuple[Bool[Tensor, "B L"], Float[Tensor, "N S"]]:
    """p(x0_i | x at time t) at the positions that may differ from x, and which these are; no mass on the mask."""
    rows = graph.active(x)
    score = model(x, t, rows).exp()
    sigma = noise(expand_to(t, x)[rows]).sigma
    law, _ = graph.posterior_weights(x[rows], score, sigma, torch.zeros_like(sigma))
    if graph.mask is not None:
        law[:, graph.mask] = 0.0
    return rows, law / law.sum(-1, keepdim=True)


def _intervals(times: Float64[Tensor, " K"], batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    for t, t_next in pairwise(times):
        yield t.expand(batch), t_next.expand(batch)
