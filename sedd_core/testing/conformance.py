"""Conformance checks for plugins of a stage, one call per test; an AssertionError names the broken property.

from sedd_core.testing import check_graph
def test_conformance(): check_graph(MyGraph(vocab_size=5))
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from ..stages import FactorizedSampler, Graph, Noise, Sampler
from .distributions import random_joint, total_variation
from .empirical import check_draws
from .oracle import Oracle

SIGMAS = torch.tensor([1e-4, 1e-2, 0.3, 1.0, 3.0], dtype=torch.float64)


def close(value: Tensor, expected: Tensor, what: str, tolerance: float = 1e-10) -> None:
    """Check that two tensors are equal within a tolerance.

    Args:
        value: Computed numbers.
        expected: Expected numbers, of a shape that broadcasts with `value`.
        what: Name of the numbers in messages.
        tolerance: Largest allowed error: absolute up to |expected| = 1, relative above.

    Raises:
        AssertionError: They differ, or `value` contains NaN or infinity.
    """
    assert value.isfinite().all(), (
        f"{what}: {int((~value.isfinite()).sum())} of {value.numel()} numbers are not finite"
    )
    error = ((value - expected).abs() / expected.abs().clamp(min=1)).max().item()
    assert error <= tolerance, f"{what}: off by {error:.3g}, more than the tolerance {tolerance:.3g}"


def check_noise(noise: Noise) -> None:
    """Check that sigma is positive and increasing, `rate` its derivative and `time` its inverse, all in float64.

    Raises:
        AssertionError: A property does not hold.
    """
    t = torch.linspace(0.001, 0.999, 101, dtype=torch.float64)
    level = noise(t)
    assert level.sigma.dtype == level.rate.dtype == torch.float64, (
        f"sigma and rate must be float64, not {level.sigma.dtype} and {level.rate.dtype}"
    )
    assert noise(t.float()).sigma.dtype == torch.float64, "sigma must be float64 for any dtype of t"
    assert (level.sigma > 0).all(), "sigma must be positive"
    assert (level.sigma.diff() > 0).all(), "sigma must increase with t"
    step = 1e-6
    slope = (noise(t + step).sigma - noise(t - step).sigma) / (2 * step)
    close(level.rate / slope, torch.ones_like(t), "rate divided by the derivative of sigma", 1e-4)
    close(noise.time(level.sigma), t, "time(sigma(t)) against t")
    assert noise(t.view(1, -1)).sigma.shape == (1, 101), "sigma must have the shape of t, for any shape"


def rate_matrix(graph: Graph) -> Float64[Tensor, "S S"]:
    """The rate matrix Q [S, S] of a graph; Q[y, x] is the rate from y to x."""
    return graph.rate_into(torch.arange(graph.num_states)).T


def check_graph(graph: Graph) -> None:
    """Check that rates, kernel, composition, prior, reverse step and score entropy of a graph are consistent.

    Args:
        graph: A forward process of few states: matrices [S, S] and all pairs of states are computed.

    Raises:
        AssertionError: A property does not hold.
    """
    states = torch.arange(graph.num_states)
    matrix = rate_matrix(graph)
    close(matrix.sum(-1), torch.zeros(len(states)).double(), "row sums of the rate matrix (0)")
    for sigma in SIGMAS:
        kernel = graph.transition(states, sigma)
        close(kernel.sum(-1), torch.ones(len(states)).double(), "row sums of transition (1)")
        more = torch.tensor(0.7, dtype=torch.float64)
        close(
            kernel @ graph.transition(states, more),
            graph.transition(states, sigma + more),
            "composition: noise a and then b is not noise a + b, which the reverse steps require (rates that depend "
            "on the noise level are not supported)",
        )
        close(kernel, torch.matrix_exp(sigma * matrix), "transition against the matrix exponential of the rates")
    prior = graph.prior_law()
    close(prior.sum(), torch.tensor(1.0).double(), "sum of prior_law (1)")
    close(prior @ matrix, torch.zeros(len(states)).double(), "prior_law times the rate matrix (0 if stationary)")
    entered = (matrix - matrix.diag().diag() > 0).any(0)
    close(graph.reachable(states).double(), entered.double(), "reachable(x) against positive rates into x")
    _check_reverse(graph)
    _check_entropy(graph)


def _check_reverse(graph: Graph) -> None:
    """Check reverse rate and analytic step of one token against Bayes' rule, under exact scores."""
    states = torch.arange(graph.num_states)
    sigma, earlier = torch.tensor(0.9, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    p0 = random_joint(graph.vocab_size, 1, seed=1)
    probs, earlier_probs = (p0 @ graph.transition(states[: graph.vocab_size], level) for level in (sigma, earlier))
    score = probs / probs[:, None]
    matrix = rate_matrix(graph)
    reverse = matrix.T * probs / probs[:, None]
    reverse = reverse - reverse.diag().diag()
    reverse = reverse - reverse.sum(-1).diag()
    close(graph.reverse_rate(states, score), reverse, "reverse_rate against Bayes' rule")
    kernel = graph.transition(states, sigma - earlier)
    bayes = (earlier_probs[:, None] * kernel / probs).T
    close(graph.posterior(states, score, sigma, earlier), bayes, "analytic step against the exact posterior")


def _check_entropy(graph: Graph) -> None:
    """Check the score entropy against its definition, and that it is 0 with gradient 0 at the true ratios."""
    x, x0 = (grid.flatten() for grid in torch.meshgrid(
        torch.arange(graph.num_states), torch.arange(graph.vocab_size), indexing="ij"
    ))  # fmt: skip
    rates = graph.rate_into(x).scatter(-1, x[:, None], 0.0)
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(len(x), graph.num_states, generator=generator, dtype=torch.float64)
    for sigma in SIGMAS:
        probs = graph.transition(x0, sigma)
        possible = probs.gather(-1, x[:, None])[:, 0] > 0
        ratio = torch.where(possible[:, None], probs / probs.gather(-1, x[:, None]), 1.0)
        direct = (rates * (u.exp() - ratio * u + torch.xlogy(ratio, ratio) - ratio)).sum(-1)
        value = graph.score_entropy(u, sigma, x, x0)
        scale = direct.abs().clamp(min=1)
        close((value / scale)[possible], (direct / scale)[possible], "score entropy against its definition", 1e-9)

        # A ratio of 0 has no finite log-score; its only term is exp(u), which vanishes at u = -60.
        best = ratio.log().clamp(min=-60).requires_grad_()
        minimum = graph.score_entropy(best, sigma, x, x0)
        (gradient,) = torch.autograd.grad(minimum[possible].sum(), best)
        scale = ratio.amax(-1).clamp(min=1)
        at_best = (minimum / scale)[possible]
        close(at_best, torch.zeros_like(at_best), "score entropy at the true ratios (0)", 1e-9)
        gradient = (gradient / scale[:, None])[possible]
        close(gradient, torch.zeros_like(gradient), "gradient of the score entropy at the true ratios (0)", 1e-9)
        assert (value[possible] > -1e-9).all(), "score entropy must not be negative"


def check_sampler(sampler: Sampler, graph: Graph, noise: Noise, *, slope_within: float = 0.1) -> None:
    """Check that a sampler draws from the right distribution.

    Every sampler is checked by `check_draws`. For a factorized sampler, the distribution of a step must also be
    nonnegative and normalized, follow the exact reverse process at short steps, and converge at the stated order.

    Args:
        sampler: The sampler.
        graph: A forward process of few states.
        noise: The noise schedule.
        slope_within: Largest difference between `sampler.order` and the order measured between 64 and 128 steps.

    Raises:
        AssertionError: A property does not hold.
    """
    if isinstance(sampler, FactorizedSampler):
        _check_distribution(sampler, graph, noise, slope_within)
    check_draws(sampler, graph, noise)


def _check_distribution(sampler: FactorizedSampler, graph: Graph, noise: Noise, slope_within: float) -> None:
    """Check that step distributions are normalized, and that samples converge at the stated order."""
    oracle = Oracle(graph, noise, random_joint(graph.vocab_size, 3, seed=2))
    count = len(oracle.states)
    t, t_next = (torch.full((count,), value, dtype=torch.float64) for value in (0.6, 0.55))
    probs = sampler.step_distribution(oracle.states, t, t_next, oracle.score_fn(), noise, graph)
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
        now, then = (torch.full((count,), value, dtype=torch.float64) for value in (t, t - dt))
        step_probs = sampler.step_distribution(oracle.states, now, then, oracle.score_fn(), noise, oracle.graph)
        return (oracle.propagate(exact(t), step_probs) - exact(t - dt)) / dt

    for t in noise.time(torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)).tolist():
        dt = 1e-4 * t
        limit = 2 * error(t, dt / 2) - error(t, dt)  # Richardson extrapolation: first-order terms in dt cancel
        flow = total_variation(exact(t), exact(t - dt)) / dt
        fault = limit.abs().sum().item() / 2 / flow
        assert fault <= 1e-4, f"a short step at t = {t:.3g} deviates from the exact flow by {fault:.2g} of the flow"
