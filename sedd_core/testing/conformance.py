"""What every plugin of a stage must keep, for its author's own tests: one call each.

    from sedd_core.testing import check_graph
    def test_conformance(): check_graph(MyGraph(vocab_size=5))

An AssertionError says what is broken.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from ..stages import FactorizedSampler, Graph, Noise, Sampler
from .empirical import check_draws
from .oracle import Oracle, random_joint, total_variation

SIGMAS = torch.tensor([1e-4, 1e-2, 0.3, 1.0, 3.0], dtype=torch.float64)


def close(value: Tensor, truth: Tensor, what: str, tolerance: float = 1e-10) -> None:
    """Equal to within `tolerance`, relative to numbers above one."""
    assert value.isfinite().all(), (
        f"{what}: {int((~value.isfinite()).sum())} of its {value.numel()} numbers are not finite"
    )
    error = ((value - truth).abs() / truth.abs().clamp(min=1)).max().item()
    assert error <= tolerance, f"{what}: off by {error:.3g}"


def check_noise(noise: Noise) -> None:
    """Total noise is positive and grows, its rate is its derivative, and `time` is its inverse; all in float64."""
    t = torch.linspace(0.001, 0.999, 101, dtype=torch.float64)
    level = noise(t)
    assert level.sigma.dtype == level.rate.dtype == torch.float64, "sigma and rate are float64"
    assert noise(t.float()).sigma.dtype == torch.float64, "sigma is float64, whatever t is"
    assert (level.sigma > 0).all(), "sigma is positive"
    assert (level.sigma.diff() > 0).all(), "sigma grows"
    step = 1e-6
    slope = (noise(t + step).sigma - noise(t - step).sigma) / (2 * step)
    close(level.rate / slope, torch.ones_like(t), "rate against the derivative of sigma", 1e-4)
    close(noise.time(level.sigma), t, "time(sigma(t)) against t")
    assert noise(t.view(1, -1)).sigma.shape == (1, 101), "any shape of t"


def rate_matrix(graph: Graph) -> Float64[Tensor, "S S"]:
    """Q with Q[y, x] the rate from y to x."""
    return graph.rate_into(torch.arange(graph.num_states)).T


def check_graph(graph: Graph) -> None:
    """Rates, kernel, composition, limit, reverse step and score entropy fit together. For small graphs."""
    states = torch.arange(graph.num_states)
    matrix = rate_matrix(graph)
    close(matrix.sum(-1), torch.zeros(len(states)).double(), "rows of the rate matrix sum to 0")
    for sigma in SIGMAS:
        kernel = graph.transition(states, sigma)
        close(kernel.sum(-1), torch.ones(len(states)).double(), "rows of the transition sum to 1")
        more = torch.tensor(0.7, dtype=torch.float64)
        close(
            kernel @ graph.transition(states, more),
            graph.transition(states, sigma + more),
            "composition: noise a and then b is not noise a + b, as the reverse steps need (rates that change with "
            "the noise are not supported)",
        )
        close(kernel, torch.matrix_exp(sigma * matrix), "transition against the matrix exponential of its rates")
    limit = graph.prior_law()
    close(limit.sum(), torch.tensor(1.0).double(), "the prior sums to 1")
    close(limit @ matrix, torch.zeros(len(states)).double(), "the prior is stationary")
    close(graph.reachable(states).double(), (matrix - matrix.diag().diag() > 0).any(0).double(), "active(x)")
    _check_reverse(graph)
    _check_entropy(graph)


def _one_token(graph: Graph, sigma: float) -> tuple[Float64[Tensor, " V"], Float64[Tensor, " S"]]:
    """A law of one clean token, and its law at sigma."""
    p0 = random_joint(graph.vocab_size, 1, seed=1)
    return p0, p0 @ graph.transition(torch.arange(graph.vocab_size), torch.tensor(sigma, dtype=torch.float64))


def _check_reverse(graph: Graph) -> None:
    """Bayes: the reverse rate and the analytic step of one token, from its exact scores."""
    states = torch.arange(graph.num_states)
    sigma, earlier = torch.tensor(0.9, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    (_, later_probs), (_, earlier_probs) = _one_token(graph, 0.9), _one_token(graph, 0.4)
    score = later_probs / later_probs[:, None]
    matrix = rate_matrix(graph)
    reverse = matrix.T * later_probs / later_probs[:, None]
    reverse = reverse - reverse.diag().diag()
    reverse = reverse - reverse.sum(-1).diag()
    close(graph.reverse_rate(states, score), reverse, "reverse rate by Bayes")
    kernel = graph.transition(states, sigma - earlier)
    bayes = (earlier_probs[:, None] * kernel / later_probs).T
    close(graph.posterior(states, score, sigma, earlier), bayes, "analytic step against the exact posterior")


def _check_entropy(graph: Graph) -> None:
    """Against the direct sum; least, with gradient 0, at the true ratios."""
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

        # Rows of ratio 0 have no finite log-score: there the sum exp(u) alone is left, which -60 brings to 0.
        best = ratio.log().clamp(min=-60).requires_grad_()
        least = graph.score_entropy(best, sigma, x, x0)
        (slope,) = torch.autograd.grad(least[possible].sum(), best)
        size = ratio.amax(-1).clamp(min=1)
        close((least / size)[possible], torch.zeros_like(least)[possible], "score entropy at the true ratios", 1e-9)
        slope = (slope / size[:, None])[possible]
        close(slope, torch.zeros_like(slope), "its gradient at the true ratios", 1e-9)
        assert (value[possible] > -1e-9).all(), "score entropy is not negative"


def check_sampler(sampler: Sampler, graph: Graph, noise: Noise, *, slope_within: float = 0.1) -> None:
    """What any sampler draws has the right law (`check_draws`).

    A factorized sampler's law is proper as well, flows as the exact one does, and nears it at its stated order.
    slope_within: how far the order measured between 64 and 128 steps may be from `sampler.order`.
    """
    if isinstance(sampler, FactorizedSampler):
        _check_law(sampler, graph, noise, slope_within)
    check_draws(sampler, graph, noise)


def _check_law(sampler: FactorizedSampler, graph: Graph, noise: Noise, slope_within: float) -> None:
    oracle = Oracle(graph, noise, random_joint(graph.vocab_size, 3, seed=2))
    count = len(oracle.states)
    t, t_next = (torch.full((count,), value, dtype=torch.float64) for value in (0.6, 0.55))
    probs = sampler.step_distribution(oracle.states, t, t_next, oracle.model(), noise, graph)
    assert (probs >= 0).all(), "a law is not negative"
    close(probs.sum(-1), torch.ones(count, oracle.length).double(), "a law sums to 1")
    distance = [total_variation(oracle.sampled(sampler, steps), oracle.p0) for steps in (64, 128)]
    order = torch.tensor(distance[0] / distance[1]).log2().item()
    if sampler.order is not None:
        assert abs(order - sampler.order) <= slope_within, f"order {order:.2f} measured, {sampler.order} stated"
    if sampler.order is not None and sampler.order >= 1:
        _check_flow(sampler, oracle)


def _check_flow(sampler: FactorizedSampler, oracle: Oracle) -> None:
    """From the exact law, a short step leads where the exact law goes: the difference over dt tends to 0.

    The law of the samples alone does not tell: absorb's tokens are right whenever they are uncovered, so that with a
    wrong rate or a wrong time of the step it still nears p0 at first order.
    """
    noise, count = oracle.noise, len(oracle.states)

    def exact(t: float) -> Float64[Tensor, " N"]:
        return oracle.marginal(noise(torch.tensor(t, dtype=torch.float64)).sigma.item())

    def error(t: float, dt: float) -> Float64[Tensor, " N"]:
        now, then = (torch.full((count,), value, dtype=torch.float64) for value in (t, t - dt))
        moves = sampler.step_distribution(oracle.states, now, then, oracle.model(), noise, oracle.graph)
        return (oracle.propagate(exact(t), moves) - exact(t - dt)) / dt

    for t in noise.time(torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)).tolist():
        dt = 1e-4 * t
        limit = 2 * error(t, dt / 2) - error(t, dt)  # Richardson: the part of first order in dt cancels
        flow = total_variation(exact(t), exact(t - dt)) / dt
        fault = limit.abs().sum().item() / 2 / flow
        assert fault <= 1e-4, f"a short step at t = {t:.3g} misses the exact flow by {fault:.2g} of it"
