"""Both graphs against the original's figures: rates, transitions, reverse rates, score entropy, analytic weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.stages import Graph, NoiseLevel
from tests.support.golden_figures import arrays, close
from tests.support.graphs import level_of

GRAPHS = {"absorb": 10, "uniform": 11}


def graph_of(name: str) -> Graph:
    return plugin(f"graph_{name}")(vocab_size=GRAPHS[name])


def stable(value: Tensor, truth: Tensor) -> None:
    close(value, truth, rtol=2e-6, atol=1e-7)


def check_rates(graph: Graph, golden: dict[str, Tensor]) -> None:
    x = golden["x"]
    level = level_of(1.0)
    stable(graph.rate_into(x, level), golden["transp_rate_f64"])
    matrix = graph.rate_into(torch.arange(graph.num_states), level).T
    stable(matrix[x], golden["rate_f64"])
    stable(graph.reverse_rate(x, golden["log_score"].exp(), level), golden["reverse_rate_f64"])


def check_transition(graph: Graph, golden: dict[str, Tensor]) -> None:
    x, level = golden["x"], NoiseLevel.of_sigma(golden["sigma"][:, 0])
    states = torch.arange(graph.num_states)
    into_x = torch.stack([graph.transition(states, level.pick(i))[:, row].T for i, row in enumerate(x)])
    stable(into_x, golden["transp_transition_f64"])
    if "transition_f64" in golden:
        stable(graph.transition(x, level), golden["transition_f64"])


def check_entropy(graph: Graph, golden: dict[str, Tensor], kind: type | torch.dtype = torch.float64) -> None:
    level, x, x0 = NoiseLevel.of_sigma(golden["sigma"][:, 0]), golden["x"], golden["x0"]
    for key, truth in [("log_score", "score_entropy_f64"), ("log_score_raw", "score_entropy_raw_f64")]:
        close(graph.score_entropy(golden[key].to(kind), level, x, x0), golden[truth], rtol=3e-6, atol=3e-9)


def check_weights(graph: Graph, golden: dict[str, Tensor]) -> None:
    """The original's staggered score times its transposed transition, negatives set to 0, normalized."""
    level, x = NoiseLevel.of_sigma(golden["sigma"][:, 0]), golden["x"]
    truth = (golden["staggered_score_f64"] * golden["transp_transition_f64"]).clamp(min=0)
    truth = truth / truth.sum(-1, keepdim=True)
    law = graph.posterior(x, golden["log_score"].double().exp(), level, level_of(0.0))
    close(law, truth, rtol=3e-4, atol=1e-6)


CHECKS = [check_rates, check_transition, check_entropy, check_weights]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", GRAPHS)
def test_parity(name: str, check) -> None:
    check(graph_of(name), arrays(f"graph_{name}"))


@pytest.mark.parametrize("name", GRAPHS)
def test_score_entropy_in_float32(name: str) -> None:
    check_entropy(graph_of(name), arrays(f"graph_{name}"), torch.float32)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", GRAPHS)
def test_the_checks_see_a_planted_factor(name: str, check) -> None:
    graph = graph_of(name)
    graph.pi *= 1.001
    with pytest.raises(AssertionError):
        check(graph, arrays(f"graph_{name}"))


@pytest.mark.parametrize("states", [256, 1024, 32000, 50257, 65536])
@pytest.mark.parametrize("sigma", [1e-4, 1e-2, 1.0])
def test_uniform_score_entropy_is_finite_and_exact_at_large_vocabularies(states: int, sigma: float) -> None:
    """Where the original's float32 constant gives nan, or -245.9 for .19857."""
    graph = plugin("graph_uniform")(vocab_size=states)
    x, x0, level = torch.tensor([3, 3]), torch.tensor([3, 7]), level_of(sigma, 2)
    truth = Graph.score_entropy(graph, torch.zeros(2, states, dtype=torch.float64), level, x, x0)
    value = graph.score_entropy(torch.zeros(2, states), level, x, x0)
    close(value, truth, rtol=1e-6, atol=1e-12)


def test_a_small_loss_keeps_its_digits_in_float32() -> None:
    """Near the optimum the four terms cancel: float32 sums over the vocabulary lose 1 % of this loss."""
    graph, x, x0 = plugin("graph_uniform")(vocab_size=50257), torch.tensor([3]), torch.tensor([7])
    level = level_of(0.1, 1)
    law = graph.transition(x0, level)
    error = torch.randn(law.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = ((law / law[:, 3:4]).log() + 0.02 * error).float()
    close(graph.score_entropy(u, level, x, x0), Graph.score_entropy(graph, u.double(), level, x, x0), rtol=1e-3)

    a, b, c, d = (part.float() for part in graph.coefficients(level, x, x0))
    u[0, 3] = 0.0
    careless = a * (u.exp().sum(-1) - 1) - b * (u * graph.pi.float()).sum(-1) - c * u[:, 7] + d
    with pytest.raises(AssertionError):
        close(careless, Graph.score_entropy(graph, u.double(), level, x, x0), rtol=1e-3)
