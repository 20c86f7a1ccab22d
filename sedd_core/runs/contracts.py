"""Quick contract checks of a run's noise, graph and sampler on a few states, before the run starts.

The thorough checks on small state spaces are part of a plugin's own tests (`sedd_core.testing`).
"""

from __future__ import annotations

import os
from functools import partial
from typing import cast

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..build.build import bind
from ..errors import UserError
from ..maths.draws import Draws
from ..model.memory import GIB, device_memory
from ..registry.plugins import name_of
from ..registry.table import contracts
from ..stages import Graph, InterpolatingGraph, Noise, NoiseLevel, Sampler, SamplerStats

MOST_DENSE = 4096
"""Number of states S up to which a graph with [S, S] matrices (128 MiB each) is constructed in memory."""
MOST_COMPOSED = 256
"""Number of states up to which checks compute the whole transition matrix: a graph may recompute it per state."""
KERNELS = 3
"""Number of [S, S] matrices in memory during a derived reverse step: transition matrix, factors and their copy."""
FEW = 8
"""Number of states in each check."""


def inspection_graph(incomplete: partial[Graph], vocab_size: int) -> Graph:
    """Construct a run's graph for checks before the run starts; large tensors are on the "meta" device.

    Args:
        incomplete: Graph class and its arguments other than the vocabulary size.
        vocab_size: Number of tokens of the vocabulary.

    Raises:
        UserError: The graph cannot be constructed, or its matrices exceed the available memory.
    """
    cls = cast("type[Graph]", incomplete.func)  # records name classes
    dense = not issubclass(cls, InterpolatingGraph)
    if dense and cls.posterior_weights is Graph.posterior_weights:
        _check_kernels_fit(cls, vocab_size)
    if dense and vocab_size > MOST_DENSE:
        try:
            with torch.device("meta"):
                return bind(incomplete, "graph", vocab_size=vocab_size)[0]
        except (UserError, NotImplementedError):  # the constructor reads values of its tensors
            pass
    return bind(incomplete, "graph", vocab_size=vocab_size)[0]


def is_on_meta(graph: Graph) -> bool:
    """Whether `inspection_graph` constructed the graph without values.

    Args:
        graph: Graph to inspect.
    """
    own = [*graph.parameters(), *graph.buffers(), *(v for v in vars(graph).values() if isinstance(v, Tensor))]
    return any(tensor.is_meta for tensor in own)


@torch.no_grad()
def check_contracts(graph: Graph, noise: Noise, sampler: Sampler) -> None:
    """Check what noise, graph and sampler return for a few times and states.

    Args:
        graph: Graph with values (not on "meta").
        noise: Noise schedule.
        sampler: Sampler; on a dense graph with many states it is not checked.

    Raises:
        UserError: A stage violates its contract.
    """
    _check_noise(noise)
    _check_graph(graph)
    if isinstance(graph, InterpolatingGraph) or graph.num_states <= MOST_COMPOSED:
        _check_sampler(sampler, graph, noise)


def _check_kernels_fit(cls: type[Graph], states: int) -> None:
    needed = KERNELS * 8 * states**2
    available = device_memory() or _host_memory()
    if available is not None and needed > available:
        raise UserError(
            f"{_name(cls)} does not fit {states:,} states: its reverse steps are derived from the transition matrix, "
            f"{states:,} x {states:,} x 8 bytes = {8 * states**2 / GIB:.1f} GiB, of which {KERNELS} are in memory at "
            f"once: {needed / GIB:.1f} GiB of {available / GIB:.1f} GiB. Use a smaller vocabulary, or override "
            "posterior_weights in closed form, as InterpolatingGraph does."
        )


def _host_memory() -> int | None:
    """Memory of this machine in bytes; None where the system does not report it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _require(condition: object, part: object, what: str) -> None:
    if not bool(condition):
        kind = next(stage for stage, contract in contracts().items() if isinstance(part, contract))
        raise UserError(
            f"{_name(type(part))} violates its contract: {what}. sedd_core.testing.check_{kind} tests it "
            "thoroughly. To run anyway: --no_checks"
        )


def _name(cls: type) -> str:
    return name_of(cls) or cls.__name__


def _check_noise(noise: Noise) -> None:
    t, step = torch.linspace(0.01, 0.99, 33, dtype=torch.float64), 1e-6
    try:
        level = noise(t)
    except TypeError as error:
        if "NoiseLevel" not in str(error):
            raise
        raise UserError(
            f"{_name(type(noise))} cannot be used: since version 0.2, forward(t) returns NoiseLevel(t, sigma, rate), "
            "the time first (docs/from-0.1.md)."
        ) from error
    for values in level:
        _require(
            values.shape == t.shape and values.dtype == torch.float64,
            noise,
            "t, sigma and rate have the shape and type of t",
        )
    _require((level.sigma > 0).all() and (level.sigma.diff() > 0).all(), noise, "sigma is positive and grows with t")
    _require(torch.allclose(level.t, t, 1e-9), noise, "the t of a level is the time that it was asked for")
    slope = (noise(t + step).sigma - noise(t - step).sigma) / (2 * step)
    _require(torch.allclose(level.rate, slope, 1e-3), noise, "rate is the derivative of sigma")
    _require(torch.allclose(noise.time(level.sigma), t, 1e-6), noise, "time(sigma(t)) is t")


def _check_graph(graph: Graph) -> None:
    last = graph.num_states - 1
    _require(graph.vocab_size <= graph.num_states, graph, "every token of the vocabulary is a state")
    states = torch.linspace(0, last, min(FEW, graph.num_states)).long().unique()
    for sigma in (0.01, 0.5, 3.0):
        level = NoiseLevel.of_sigma(torch.tensor(sigma))
        probs = graph.transition(states, level)
        _require(probs.shape == (len(states), last + 1), graph, "transition(x, level) has shape [*x.shape, num_states]")
        _require(probs.dtype == torch.float64, graph, f"transition is float64, not {probs.dtype}")
        _require((probs > -1e-9).all(), graph, f"transition is nonnegative (sigma = {sigma})")
        total = probs.sum(-1)
        worst = total[(total - 1).abs().argmax()].item()
        _require(abs(worst - 1) < 1e-6, graph, f"rows of transition sum to 1, not to {worst:.6g} (sigma = {sigma})")
        _check_entropy(graph, states[states < graph.vocab_size], level, sigma)
        _check_rates(graph, states, level)
    prior = graph.prior_law()
    _require(
        prior.shape == (last + 1,) and (prior >= 0).all(), graph, "prior_law is nonnegative with shape [num_states]"
    )
    _require(abs(prior.sum().item() - 1) < 1e-6, graph, f"prior_law sums to 1, not to {prior.sum().item():.6g}")
    if graph.num_states <= MOST_COMPOSED:
        _check_composition(graph, states)


def _check_composition(graph: Graph, states: Int64[Tensor, " N"]) -> None:
    first, second = (NoiseLevel.of_sigma(torch.tensor(sigma, dtype=torch.float64)) for sigma in (0.4, 1.1))
    onwards = graph.transition(torch.arange(graph.num_states), second, since=first)
    _require(
        torch.allclose(graph.transition(states, first) @ onwards, graph.transition(states, second), atol=1e-6),
        graph,
        "transition to a level, then from it to another (since=...), equals transition to the other",
    )


def _check_rates(graph: Graph, states: Int64[Tensor, " N"], level: NoiseLevel) -> None:
    """Compare transition over a small step with the rates, among the states."""
    step = 1e-6
    later = NoiseLevel.of_sigma(level.sigma + step)
    probs = graph.transition(states, later, since=level)[:, states]
    out_rates = (probs - torch.eye(len(states), dtype=torch.float64)) / step
    in_rates = graph.rate_into(states, level)[:, states].mT
    _require(
        (out_rates - in_rates).abs().max() <= 1e-3 * in_rates.abs().max(),
        graph,
        "rate_into(x, level)[y] is the rate from y into x",
    )


def _check_entropy(graph: Graph, x0: Int64[Tensor, " N"], level: NoiseLevel, sigma: float) -> None:
    """Check that score_entropy is nonnegative, and 0 at the true ratios."""
    probs = graph.transition(x0, level)
    x = probs.argmax(-1)
    ratio = probs / probs.gather(-1, x[:, None])
    for log_score, what in ((ratio.log().clamp(min=-60), "0 at the true ratios"), (torch.zeros_like(probs), "")):
        entropy = graph.score_entropy(log_score, level, x, x0) / ratio.sum(-1)
        _require((entropy > -1e-6).all(), graph, f"score_entropy is nonnegative (sigma = {sigma})")
        _require(not what or (entropy < 1e-6).all(), graph, f"score_entropy is {what} (sigma = {sigma})")


def _check_sampler(sampler: Sampler, graph: Graph, noise: Noise) -> None:
    draws = Draws(0, torch.arange(2))
    x = graph.prior(draws, 3)

    def score(x: Int64[Tensor, "B L"], level: NoiseLevel, positions: Bool[Tensor, "B L"] | None = None) -> Tensor:
        probs = graph.transition(torch.zeros_like(x), level)  # as if all data were token 0
        values = (probs.clamp(min=1e-30) / probs.gather(-1, x[..., None]).clamp(min=1e-30)).log().float()
        return values if positions is None else values[positions]

    level, level_next = (noise(torch.full((2,), value, dtype=torch.float64)) for value in (0.6, 0.5))
    out = sampler.step(x, level, level_next, score, graph, draws, sampler.init(x, graph))
    sampler.stats = SamplerStats()
    _require(out.shape == x.shape and out.dtype == x.dtype, sampler, "step returns states with the shape and type of x")
    _require(((out >= 0) & (out < graph.num_states)).all(), sampler, "step returns states between 0 and num_states - 1")
