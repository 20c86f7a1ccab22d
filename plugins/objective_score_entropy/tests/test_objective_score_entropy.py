"""Score entropy as an objective: conformance for processes and heads of every kind, its weights, other losses."""

from __future__ import annotations

import math

import pytest
import torch
from objective_score_entropy import ScoreEntropy, Weight, entropy_weights
from torch import Tensor

from sedd_core import plugin
from sedd_core.stages import Graph, InterpolatingGraph, NoiseLevel
from sedd_core.testing import check_objective
from tests.support.families import WHOLE, Exact, arrays, needs_whole

SIGMAS = (1e-4, 0.1, 1.0, 6.0)


def process(name: str) -> tuple[Graph, str]:
    return plugin(f"graph_{name}")(vocab_size=3), "noise_geometric" if name == "uniform" else "noise_loglinear"


@pytest.mark.parametrize("head", ["score", pytest.param("mean", marks=pytest.mark.slow)])
@pytest.mark.parametrize("graph", ["absorb", pytest.param("uniform", marks=pytest.mark.slow), "gidd"])
def test_conformance(graph: str, head: str) -> None:
    forward, noise = process(graph)
    check_objective(ScoreEntropy(), forward, plugin(f"head_{head}")(), plugin(noise)())


@pytest.mark.parametrize(
    "weight",
    [pytest.param("uniform", marks=pytest.mark.slow), pytest.param("clipped", marks=pytest.mark.slow), "dynamic"],
)
@pytest.mark.parametrize("graph", [pytest.param("absorb", marks=pytest.mark.slow), "gidd"])
def test_conformance_of_other_weights(graph: str, weight: Weight) -> None:
    forward, noise = process(graph)
    objective = ScoreEntropy(weight=weight)
    assert objective.bound_factor(1e-3) is None
    check_objective(objective, forward, plugin("head_mean")(), plugin(noise)())


def pairs(graph: Graph, sigma: float) -> tuple[Tensor, Tensor, NoiseLevel, Tensor]:
    """All reachable states beside all clean tokens, at a level of rate 1.7; and a random log-mean of each pair."""
    x, x0 = torch.cartesian_prod(torch.arange(graph.num_states), torch.arange(graph.vocab_size)).T
    level = NoiseLevel(*(torch.full(x.shape, v, dtype=torch.float64) for v in (0.5, sigma, 1.7)))
    kept = graph.reachable(x, level) & (graph.transition(x0, level).gather(-1, x[:, None])[:, 0] > 0)
    logits = torch.randn(len(x), graph.vocab_size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x[kept], x0[kept], level.pick(kept), logits.log_softmax(-1)[kept]


def divergence(graph: Graph, log_mean: Tensor, x: Tensor, x0: Tensor, level: NoiseLevel) -> Tensor:
    """KL(q || q^) + R - 1 - log R."""
    kernel = graph.transition(torch.arange(graph.vocab_size).expand(len(x), -1), level.at(x))
    q, guess = kernel[torch.arange(len(x)), x0], (log_mean.exp()[:, None] @ kernel)[:, 0]
    ratio = (q / guess).gather(-1, x[:, None])[:, 0]
    return torch.where(q > 0, q * (q / guess).log(), 0.0).sum(-1) + ratio - 1 - ratio.log()


@pytest.mark.parametrize("graph", ["absorb", "uniform", "hybrid", "gidd"])
def test_uniform_weights_leave_the_divergence(graph: str) -> None:
    forward, _ = process(graph)
    assert isinstance(forward, InterpolatingGraph)
    for sigma in SIGMAS:
        x, x0, level, log_mean = pairs(forward, sigma)
        entropy = forward.score_entropy(forward.score_from_mean(log_mean, x, level), level, x, x0)
        direct = divergence(forward, log_mean, x, x0, level)
        weighted = {name: entropy_weights(name, forward, x, x0, level) * entropy for name in ("uniform", "clipped")}
        torch.testing.assert_close(weighted["uniform"], direct, rtol=1e-8, atol=1e-9)
        most = torch.minimum(level.rate * entropy, 2 * direct)
        torch.testing.assert_close(weighted["clipped"], most, rtol=1e-8, atol=1e-9)


def test_the_cross_entropy_of_mdlm_is_score_entropy() -> None:
    """t-DCE, dsigma / expm1(sigma) times -log c at a mask: no objective of its own."""
    graph = plugin("graph_absorb")(vocab_size=3)
    for sigma in SIGMAS:
        x, x0, level, log_mean = pairs(graph, sigma)
        entropy = level.rate * graph.score_entropy(graph.score_from_mean(log_mean, x, level), level, x, x0)
        cross = -level.rate / math.expm1(sigma) * log_mean.gather(-1, x0[:, None])[:, 0]
        torch.testing.assert_close(entropy, cross, rtol=1e-10, atol=1e-10)


def test_the_loss_of_udlm_and_duo_is_score_entropy() -> None:
    """-dalpha / (S alpha) sum_y [Q log(Q / M) - Q + M], Q and M the ratios of S alpha x_y + 1 - alpha: none either."""
    graph = plugin("graph_uniform")(vocab_size=3)
    for sigma in SIGMAS:
        x, x0, level, log_mean = pairs(graph, sigma)
        alpha, states = math.exp(-sigma), graph.num_states
        truth = states * alpha * torch.nn.functional.one_hot(x0, states).double() + 1 - alpha
        guess = states * alpha * log_mean.exp() + 1 - alpha
        q, m = (values / values.gather(-1, x[:, None]) for values in (truth, guess))
        loss = level.rate / states * (q * (q / m).log() - q + m).sum(-1)  # -dalpha = rate alpha
        entropy = level.rate * graph.score_entropy(graph.score_from_mean(log_mean, x, level), level, x, x0)
        torch.testing.assert_close(entropy, loss, rtol=1e-9, atol=1e-9)


@needs_whole
@pytest.mark.parametrize("share", ["0.0", "0.2"])
def test_the_weights_of_gidd(share: str) -> None:
    """Their dynamic and clipped losses; without uniform noise their process has a share of exp(-20)."""
    golden, model = (
        arrays(WHOLE / "gidd" / f"gidd_p_unif_{share}.npz"),
        Exact(WHOLE / "gidd" / f"hub_p_unif_{share}"),
    )
    if share == "0.0":
        model.graph = plugin("graph_gidd")(vocab_size=model.graph.vocab_size, p_uniform=math.exp(-20))
        model.noise = plugin("noise_gidd")(p_uniform=math.exp(-20))
    assert isinstance(model.graph, InterpolatingGraph)
    x0 = golden["x0"]
    for index, (x, t) in enumerate(zip(golden["xt"], golden["t"], strict=True)):
        level = model.noise(t).at(x)
        entropy = model.integrand(x, x0, level) / level.rate
        for name, figure in (("dynamic", "loss_dynamic_f64"), ("clipped", "loss_clip_f64")):
            ours = entropy_weights(name, model.graph, x, x0, level) * entropy
            torch.testing.assert_close(ours, golden[figure][index], rtol=1e-5, atol=1e-5)


def test_weights_that_do_not_suit_a_graph_are_refused() -> None:
    class Dense(Graph):
        transition = rate_into = prior_law = None  # pyright: ignore

    Dense.__abstractmethods__ = frozenset()
    dense = Dense(vocab_size=3, num_states=3)
    assert ScoreEntropy().incompatibility(dense) is None
    assert "interpolate" in str(ScoreEntropy(weight="uniform").incompatibility(dense))
    assert "mask" in str(ScoreEntropy(weight="dynamic").incompatibility(plugin("graph_uniform")(vocab_size=3)))
    assert ScoreEntropy(weight="dynamic").incompatibility(plugin("graph_hybrid")(vocab_size=3)) is None
