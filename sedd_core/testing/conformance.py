"""Conformance checks for plugins of a stage, one call per test; an AssertionError names the broken property.

from sedd_core.testing import check_graph
def test_conformance(): check_graph(MyGraph(vocab_size=5))
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from ..maths.numerics import own_and_others, row_scores
from ..stages import EventWeights, Graph, Head, Noise, NoiseLevel
from ..stages.step import split_weights
from .distributions import random_joint

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
    assert value.isfinite().all(), f"{what}: {int((~value.isfinite()).sum())} of {value.numel()} numbers are not finite"
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
    close(level.t, t, "the t of a level against t")
    held = noise.at_sigma(torch.tensor([0.0, math.inf], dtype=torch.float64))
    assert held.sigma.tolist() == [0.0, math.inf], f"at_sigma must keep any sigma, not return {held.sigma.tolist()}"
    assert ((held.t >= 0) & (held.t <= 1)).all(), f"at_sigma must hold the time in [0, 1], not {held.t.tolist()}"
    assert noise(t.view(1, -1)).sigma.shape == (1, 101), "sigma must have the shape of t, for any shape"


def rate_matrix(graph: Graph, level: NoiseLevel) -> Float64[Tensor, "S S"]:
    """The rate matrix Q [S, S] of a graph at a noise level; Q[y, x] is the rate from y to x."""
    return graph.rate_into(torch.arange(graph.num_states), level).T


def check_graph(graph: Graph) -> None:
    """Check that rates, kernel, composition, prior, reverse step and score entropy of a graph are consistent.

    Args:
        graph: A forward process of few states: matrices [S, S] and all pairs of states are computed.

    Raises:
        AssertionError: A property does not hold.
    """
    states = torch.arange(graph.num_states)
    zeros, ones = torch.zeros(len(states)).double(), torch.ones(len(states)).double()
    for sigma in SIGMAS:
        level, later = NoiseLevel.of_sigma(sigma), NoiseLevel.of_sigma(sigma + 0.7)
        kernel, onwards = graph.transition(states, level), graph.transition(states, later, since=level)
        for matrix in (kernel, onwards):
            close(matrix.sum(-1), ones, "row sums of transition (1)")
            assert (matrix > -1e-12).all(), f"transition must not be negative: {matrix.min().item():.3g}"
        close(kernel @ onwards, graph.transition(states, later), "composition: transition to a, then from a to b")
        clean = NoiseLevel.of_sigma(torch.zeros_like(sigma))
        close(graph.transition(states, level, since=clean), kernel, "transition since level 0 against since=None")
        matrix = rate_matrix(graph, level)
        close(matrix.sum(-1), zeros, "row sums of the rate matrix (0)")
        _check_rates(graph, sigma, kernel @ matrix)
        entered = (matrix - matrix.diag().diag() > 0).any(0)
        reachable = graph.reachable(states, level)
        close(reachable.double(), entered.double(), "reachable(x) against positive rates into x")
        _check_reverse(graph, level)
    _check_prior(graph)
    _check_entropy(graph)


def _check_rates(graph: Graph, sigma: Float64[Tensor, ""], derivative: Float64[Tensor, "S S"]) -> None:
    """Check T Q against the derivative of the transition T in sigma, by central differences of two widths."""
    states = torch.arange(graph.num_states)

    def slope(width: Float64[Tensor, ""]) -> Float64[Tensor, "S S"]:
        after, before = (graph.transition(states, NoiseLevel.of_sigma(sigma + d)) for d in (width, -width))
        return (after - before) / (2 * width)

    width = 1e-3 * sigma.clamp(max=1.0)
    extrapolated = (4 * slope(width / 2) - slope(width)) / 3  # Richardson: the error falls as width^4
    close(extrapolated, derivative, "transition times rates against the derivative of transition in sigma", 1e-7)


def _check_prior(graph: Graph) -> None:
    """Check that prior_law is a distribution, and the limit of the process or, for constant rates, stationary."""
    prior, states = graph.prior_law(), torch.arange(graph.num_states)
    close(prior.sum(), torch.tensor(1.0).double(), "sum of prior_law (1)")
    early, late = (rate_matrix(graph, NoiseLevel.of_sigma(torch.tensor(sigma).double())) for sigma in (0.1, 60.0))
    if torch.equal(early, late):
        close(prior @ early, torch.zeros(len(states)).double(), "prior_law times the rate matrix (0 if stationary)")
    else:
        limit = graph.transition(states, NoiseLevel.of_sigma(torch.tensor(60.0).double()))
        close(limit, prior.expand_as(limit), "prior_law against the transition at sigma = 60", 1e-9)


def _check_reverse(graph: Graph, level: NoiseLevel) -> None:
    """Check reverse rate, analytic step and mean of one token against Bayes' rule, under exact scores."""
    states = torch.arange(graph.num_states)
    earlier = NoiseLevel.of_sigma(0.4 * level.sigma)
    p0 = random_joint(graph.vocab_size, 1, seed=1)
    probs, earlier_probs = (p0 @ graph.transition(states[: graph.vocab_size], one) for one in (level, earlier))
    possible = probs > 0
    score = torch.where(possible[:, None], probs / probs[:, None], 1.0)
    matrix = rate_matrix(graph, level)
    reverse = matrix.T * score
    reverse = reverse - reverse.diag().diag()
    reverse = reverse - reverse.sum(-1).diag()
    scale = reverse.abs().amax(-1, keepdim=True).clamp(min=1)
    close(graph.reverse_rate(states, score, level) / scale, reverse / scale, "reverse_rate against Bayes' rule")
    kernel = graph.transition(states, level, since=earlier)
    bayes = (earlier_probs[:, None] * kernel / probs).T
    posterior = graph.posterior(states, score, level, earlier)
    close(posterior[possible], bayes[possible], "analytic step against the exact posterior")
    step = level.at(states), earlier.at(states)
    own, others = own_and_others(score, states)
    events = graph.posterior_events(states, own, others, *step)
    if events is not None:
        expected = split_weights(graph.posterior_weights(states, score, *step), states)
        for value, whole, what in zip(events, expected, EventWeights._fields, strict=True):
            close(value[possible], whole[possible], f"posterior_events ({what}) against posterior_weights")
    mean = graph.mean_from_score(score, states, level)
    close(mean[possible], p0.expand_as(mean)[possible], "mean_from_score of the exact scores", 1e-9)
    log_score = graph.score_from_mean(p0.log().expand_as(mean), states, level)
    close((log_score.exp() / score)[possible][:, possible], torch.ones(1).double(), "score_from_mean of p0", 1e-9)
    reachable = states[graph.reachable(states, level)]
    known = graph.other_scores_of_mean(reachable, level)
    if known is not None:
        _, expected = own_and_others(log_score[reachable].exp(), reachable)
        close(known / expected, torch.ones(1).double(), "other_scores_of_mean against score_from_mean", 1e-9)


def _check_entropy(graph: Graph) -> None:
    """Check the score entropy against its definition, and that it is 0 with gradient 0 at the true ratios."""
    x, x0 = (grid.flatten() for grid in torch.meshgrid(
        torch.arange(graph.num_states), torch.arange(graph.vocab_size), indexing="ij"
    ))  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(len(x), graph.num_states, generator=generator, dtype=torch.float64)
    for level in map(NoiseLevel.of_sigma, SIGMAS):
        rates = graph.rate_into(x, level).scatter(-1, x[:, None], 0.0)
        probs = graph.transition(x0, level)
        possible = probs.gather(-1, x[:, None])[:, 0] > 0
        ratio = torch.where(possible[:, None], probs / probs.gather(-1, x[:, None]), 1.0)
        direct = (rates * (u.exp() - ratio * u + torch.xlogy(ratio, ratio) - ratio)).sum(-1)
        value = graph.score_entropy(u, level, x, x0)
        scale = direct.abs().clamp(min=1)
        close((value / scale)[possible], (direct / scale)[possible], "score entropy against its definition", 1e-9)

        # A ratio of 0 has no finite log-score; its only term is exp(u), which vanishes at u = -60.
        best = ratio.log().clamp(min=-60).requires_grad_()
        minimum = graph.score_entropy(best, level, x, x0)
        (gradient,) = torch.autograd.grad(minimum[possible].sum(), best)
        scale = ratio.amax(-1).clamp(min=1)
        at_best = (minimum / scale)[possible]
        close(at_best, torch.zeros_like(at_best), "score entropy at the true ratios (0)", 1e-9)
        gradient = (gradient / scale[:, None])[possible]
        close(gradient, torch.zeros_like(gradient), "gradient of the score entropy at the true ratios (0)", 1e-9)
        assert (value[possible] > -1e-9).all(), "score entropy must not be negative"


def check_head(head: Head, graph: Graph) -> None:
    """Check that a head gives finite log-scores in the right type, and an offset and a mean consistent with them.

    Args:
        head: The head.
        graph: A forward process of few states.

    Raises:
        AssertionError: A property does not hold.
    """
    states = torch.arange(graph.num_states)
    logits = torch.randn(len(states), len(states), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for level in map(NoiseLevel.of_sigma, SIGMAS):
        x = states[graph.reachable(states, level)]
        rows = logits[x]
        log_score = head.log_score(rows, x, level, graph)
        assert log_score.shape == rows.shape, f"log_score must have shape {rows.shape}, not {log_score.shape}"
        for dtype, expected in ((torch.float32, torch.float32), (torch.bfloat16, torch.float32)):
            converted = head.log_score(rows.to(dtype), x, level, graph).dtype
            assert converted == expected, f"log_score of {dtype} must be {expected}, not {converted}"
        offset = head.offset(x, level, graph)
        if offset is not None:
            close(log_score - rows, offset[:, None].expand_as(rows), "log_score minus logits against offset", 1e-9)
        relative = log_score.scatter(-1, x[:, None], 0.0)
        close(relative.exp() / relative.exp(), torch.ones(1).double(), "log-scores (finite)")
        others = head.others(x, level, graph)
        if others is not None:
            _, expected = own_and_others(relative.exp(), x)
            close(others / expected, torch.ones(1).double(), "others against the sums of log_score", 1e-9)
        log_mean = head.log_mean(rows, x, level, graph)
        close(log_mean.exp().sum(-1), torch.ones(len(x)).double(), "sum of the mean (1)", 1e-9)
        derived = graph.mean_from_score(row_scores(relative, x), x, level)
        if type(head).log_mean is not Head.log_mean:
            close(log_mean.exp(), derived, "log_mean against the mean of log_score", 1e-9)
