"""Conformance check for sampler plugins, against exact and empirical distributions of small problems."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ..maths.draws import Draws
from ..stages import FactorizedSampler, FixedTokens, Graph, Noise, Sampler
from .conformance import close
from .distributions import random_joint, total_variation
from .empirical import check_draws
from .oracle import Oracle

RUNS = 12
"""Number of sequences of the run that is checked."""


def check_sampler(sampler: Sampler, graph: Graph, noise: Noise, *, slope_within: float = 0.1) -> None:
    """Check that a sampler draws from the right distribution.

    Every sampler is checked by `check_draws`, must keep fixed tokens, return tokens alone, and draw by the index of a
    sequence. For a factorized sampler, the distribution of a step must also be nonnegative and normalized, follow the
    exact reverse process at short steps, and converge at the stated order.

    Args:
        sampler: The sampler.
        graph: A forward process of few states.
        noise: The noise schedule.
        slope_within: Largest difference between `sampler.order` and the order measured between 64 and 128 steps.

    Raises:
        AssertionError: A property does not hold.
    """
    _check_run(sampler, graph, noise)
    if isinstance(sampler, FactorizedSampler):
        _check_distribution(sampler, graph, noise, slope_within)
    check_draws(sampler, graph, noise)


def _check_run(sampler: Sampler, graph: Graph, noise: Noise) -> None:
    """Check what a run returns: fixed tokens in place, tokens elsewhere, the same in any division into batches."""
    oracle = Oracle(graph, noise, random_joint(graph.vocab_size, 3, seed=2))
    levels, score_fn = noise(torch.linspace(1.0, 0.3, 9, dtype=torch.float64)), oracle.score_fn()
    tokens = torch.arange(RUNS)[:, None] % graph.vocab_size * torch.ones(1, oracle.length, dtype=torch.int64)
    positions = torch.tensor([False, True, False]).expand_as(tokens)

    def run(first: int) -> Int64[Tensor, "B L"]:
        draws, known = Draws(0, torch.arange(first, RUNS)), FixedTokens(tokens[first:], positions[first:])
        return sampler.run(graph.prior(draws, oracle.length), levels, score_fn, graph, draws, known)

    samples = run(0)
    assert torch.equal(samples[positions], tokens[positions]), "run must keep fixed tokens"
    invalid = (samples < 0) | (samples >= graph.vocab_size)
    assert not invalid.any(), f"run must return tokens below {graph.vocab_size} alone, not {samples[invalid][0]}"
    assert torch.equal(run(RUNS // 2), samples[RUNS // 2 :]), (
        "a sample must be a function of the index of its sequence: half of a batch gives other samples; look for "
        "numbers that are not of `draws`, or of the position in the batch"
    )


def _check_distribution(sampler: FactorizedSampler, graph: Graph, noise: Noise, slope_within: float) -> None:
    """Check that step distributions are normalized, and that samples converge at the stated order."""
    oracle = Oracle(graph, noise, random_joint(graph.vocab_size, 3, seed=2))
    count = len(oracle.states)
    level, level_next = (noise(torch.full((count,), value, dtype=torch.float64)) for value in (0.6, 0.55))
    probs = sampler.step_distribution(oracle.states, level, level_next, oracle.score_fn(), graph)
    assert (probs >= 0).all(), "step_distribution must not be negative"
    close(probs.sum(-1), torch.ones(count, oracle.length).double(), "sums of step_distribution over states (1)")
    distance = [total_variation(oracle.sampled(sampler, steps), oracle.p0) for steps in (64, 128)]
    order = torch.tensor(distance[0] / distance[1]).log2().item()
    if sampler.order is not None:
        assert abs(order - sampler.order) <= slope_within, (
            f"the measured order of convergence is {order:.2f}, the stated order {sampler.order}"
        )
    if sampler.order is not None and sampler.order >= 1:
        _check_flow(sampler, oracle)


def _check_flow(sampler: FactorizedSampler, oracle: Oracle) -> None:
    """Check that a short step from the exact marginal follows the exact marginal: error / dt tends to 0 with dt.

    The distribution of the samples cannot show this alone: under absorb, tokens are right at any time they are
    unmasked, so a step with a wrong rate or time still converges to p0 at first order.
    """
    noise, count = oracle.noise, len(oracle.states)

    def exact(t: float) -> Float64[Tensor, " N"]:
        return oracle.marginal(noise(torch.tensor(t, dtype=torch.float64)).sigma.item())

    def error(t: float, dt: float) -> Float64[Tensor, " N"]:
        now, then = (noise(torch.full((count,), value, dtype=torch.float64)) for value in (t, t - dt))
        step_probs = sampler.step_distribution(oracle.states, now, then, oracle.score_fn(), oracle.graph)
        return (oracle.propagate(exact(t), step_probs) - exact(t - dt)) / dt

    for t in noise.time(torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)).tolist():
        dt = 1e-4 * t
        limit = 2 * error(t, dt / 2) - error(t, dt)  # Richardson extrapolation: first-order terms in dt cancel
        flow = total_variation(exact(t), exact(t - dt)) / dt
        fault = limit.abs().sum().item() / 2 / flow
        assert fault <= 1e-4, f"a short step at t = {t:.3g} deviates from the exact flow by {fault:.2g} of the flow"
