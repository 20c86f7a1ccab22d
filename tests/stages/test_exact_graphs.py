"""Graphs against linear algebra and Bayes' rule on small state spaces, and the checks against planted faults."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.maths.draws import Draws
from sedd_core.stages import Graph, InterpolatingGraph, NoiseLevel
from sedd_core.testing import check_graph
from sedd_core.testing.conformance import close, rate_matrix
from tests.support.graphs import GRAPHS, Drifting, Ring, chi_square, level_of, random_pi
from tests.support.lattice import COUNT, Lattice
from tests.support.planted import Plant, check_found

SIGMAS = [1e-4, 0.02, 0.5, 2.0, 8.0]


CLOSED_FORMS = [name for name in GRAPHS if name != "ring"]


@pytest.mark.parametrize("name", GRAPHS)
def test_conformance(name: str) -> None:
    check_graph(GRAPHS[name]())


@pytest.mark.parametrize("name", GRAPHS)
def test_the_limit(name: str) -> None:
    graph = GRAPHS[name]()
    law = graph.transition(torch.arange(graph.num_states), level_of(60.0))
    close(law, graph.prior_law().expand_as(law), "the limit of the transition")


def test_a_process_that_does_not_compose_is_refused() -> None:
    """Reverse steps use the kernel between two levels, so that it must be that of the process."""
    with pytest.raises(AssertionError, match="composition: transition to a, then from a to b"):
        check_graph(Drifting())
    assert not hasattr(Graph, "semigroup")


@pytest.mark.parametrize("pi", [[0.5, 0.4], [1.5, -0.5], [math.nan, 1.0], [math.inf, 0.0], [0.5, 0.5 + 1e-8]], ids=str)
def test_a_pi_that_is_no_distribution_is_refused(pi: list[float]) -> None:
    with pytest.raises(ValueError, match=r"pi must be a distribution: its smallest entry is .*, and its sum is"):
        InterpolatingGraph(torch.tensor(pi, dtype=torch.float64), vocab_size=2)
    with torch.device("meta"):
        InterpolatingGraph(torch.tensor(pi, dtype=torch.float64), vocab_size=2)


def pairs(graph: Graph) -> tuple[Tensor, Tensor]:
    grids = torch.meshgrid(torch.arange(graph.num_states), torch.arange(graph.vocab_size), indexing="ij")
    return grids[0].flatten(), grids[1].flatten()


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("sigma", SIGMAS)
def test_closed_forms_equal_the_dense_derivations(name: str, sigma: float) -> None:
    graph, level, earlier = GRAPHS[name](), level_of(sigma), level_of(0.3 * sigma)
    states = torch.arange(graph.num_states)
    generator = torch.Generator().manual_seed(3)
    log_score = torch.randn(graph.num_states, graph.num_states, generator=generator, dtype=torch.float64)
    log_score = log_score.scatter(-1, states[:, None], 0.0)
    score = log_score.exp()

    dense, _ = Graph.posterior_weights(graph, states, score, level, earlier)
    closed, total = graph.posterior_weights(states, score, level, earlier)
    size = dense.amax(-1, keepdim=True).clamp(min=1)
    close(closed / total[:, None] / size, dense / size, "posterior weights", 1e-9)
    close(graph.reverse_rate(states, score, level), Graph.reverse_rate(graph, states, score, level), "reverse rate")
    assert torch.equal(graph.reachable(states, level), Graph.reachable(graph, states, level))
    data = torch.arange(graph.vocab_size)
    if (graph.prior_law()[data] > 0).all():
        close(graph.prior_kl(data, level), Graph.prior_kl(graph, data, level), "prior KL", 1e-9)
    else:
        assert graph.prior_kl(data, level).isinf().all()


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("sigma", SIGMAS)
def test_coefficients_equal_the_direct_sum(name: str, sigma: float) -> None:
    check_coefficients(GRAPHS[name](), sigma)


def check_coefficients(graph: InterpolatingGraph, sigma: float) -> None:
    """A, B, C, D from their definition: Q(y -> x) [e^u - r u + r (log r - 1)] collected by powers of u."""
    level = level_of(sigma)
    x, x0 = pairs(graph)
    law = graph.transition(x0, level)
    here = law.gather(-1, x[:, None])
    possible = here[:, 0] > 0
    x, x0, ratio = x[possible], x0[possible], (law / here)[possible]
    rates = rate_matrix(graph, level)[:, x].T.scatter(-1, x[:, None], 0.0)
    a, b, c, d = graph.coefficients(level, x, x0)
    u = torch.randn(len(x), graph.num_states, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    off = torch.ones_like(u).scatter(-1, x[:, None], 0.0)
    close(a[:, None] * off, rates, "A")
    linear = -b[:, None] * graph.mixture(level.at(x)) * off - c[:, None] * torch.nn.functional.one_hot(
        x0, graph.num_states
    )
    size = (rates * ratio).amax(-1).clamp(min=1)
    close((linear / size[:, None]), -rates * ratio / size[:, None], "B and C", 1e-9)
    constant = (rates * (torch.xlogy(ratio, ratio) - ratio)).sum(-1)
    close(d / size, constant / size, "D", 1e-9)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("sigma", [0.02, 1.0])
def test_perturb_and_prior_draw_their_laws(name: str, sigma: float, seed: int) -> None:
    """Chi-square at 1e-5 each: under 1e-3 for the family. 40,000 draws find a relative fault of a few per cent."""
    graph, count = GRAPHS[name](), 40_000
    draws = Draws(seed, torch.arange(count))
    token = min(2, graph.vocab_size - 1)
    x0 = torch.full((count, 1), token)
    law = graph.transition(torch.tensor(token), level_of(sigma))
    drawn = graph.perturb(x0, level_of(sigma, count), draws)
    assert chi_square(drawn, law) > 1e-5
    assert chi_square(graph.prior(draws, 1), graph.prior_law()) > 1e-5
    wrong = graph.transition(torch.tensor(token), level_of(sigma * 1.6 + 0.05))
    assert chi_square(drawn, wrong) < 1e-5, "the test has no power"


@pytest.mark.parametrize("name", GRAPHS)
def test_perturb_draws_its_law_to_four_digits(name: str) -> None:
    """Evenly spread points in the place of chance: noise that is 0.2 % too high is found."""
    graph, x0 = GRAPHS[name](), torch.ones(COUNT, 1, dtype=torch.int64)
    drawn = graph.perturb(x0, level_of(1.0, COUNT), Lattice())
    shares = torch.bincount(drawn[:, 0], minlength=graph.num_states) / COUNT
    law = graph.transition(torch.tensor(1), level_of(1.0))
    torch.testing.assert_close(shares.double(), law, rtol=0, atol=2e-4)


def test_the_general_draws_of_a_lopsided_process(seed: int) -> None:
    """Those of `Graph`, which the ring uses, where the law is not the same for every state; chi-square at 1e-5 each."""
    graph, draws = random_pi(2, mask=False), Draws(seed, torch.arange(40_000))
    x0, level = torch.full((40_000, 1), 3), level_of(0.7, 40_000)
    law = graph.transition(torch.tensor(3), level_of(0.7))
    for drawn, right in [
        (Graph.prior(graph, draws, 1), graph.prior_law()),
        (Graph.perturb(graph, x0, level, draws), law),
        (graph.prior(draws, 1), graph.prior_law()),
        (graph.perturb(x0, level, draws), law),
    ]:
        assert chi_square(drawn, right) > 1e-5
        assert chi_square(drawn, right.flip(0)) < 1e-5


def test_score_offsets_are_what_they_say() -> None:
    sigma = torch.tensor([1e-4, 0.3, 5.0], dtype=torch.float64)
    level = NoiseLevel.of_sigma(sigma)
    x = torch.tensor([2, 2, 2])
    uniform, states = plugin("graph_uniform")(vocab_size=7), torch.arange(7)
    law = torch.stack([uniform.transition(torch.tensor(2), level_of(s)) for s in sigma.tolist()])
    close(uniform.score_offset(x, level), (law[:, states != 2].mean(-1) / law[:, 2]).log(), "uniform's offset")

    absorb, mask = plugin("graph_absorb")(vocab_size=7), torch.full((3,), 7)
    law = torch.stack(
        [absorb.transition(torch.arange(7), level_of(s)).mean(0) for s in sigma.tolist()]
    )  # every token as likely
    close(absorb.score_offset(mask, level), (law[:, 0] / law[:, 7]).log(), "absorb's offset")
    close(InterpolatingGraph.score_offset(absorb, mask, level), absorb.score_offset(mask, level), "as derived")
    with pytest.raises(TypeError, match="scale_by_sigma=False"):
        Ring().score_offset(x, level)


def _scaled(graph: InterpolatingGraph, name: str, factor: float) -> None:
    """Multiply what a method returns."""
    method = getattr(graph, name)

    def faulty(*args: Any, **kwargs: Any):
        result = method(*args, **kwargs)
        return type(result)(*(part * factor for part in result)) if isinstance(result, tuple) else result * factor

    object.__setattr__(graph, name, faulty)


@pytest.mark.parametrize(
    ("method", "factor"),
    [
        ("transition", 1.0001),
        ("rate_into", 1.0001),
        ("rate_into", -1.0),
        ("prior_law", 1.001),
        ("reverse_rate", 1.0001),
        ("score_entropy", 1.0001),
        ("score_entropy", -1.0),
        ("coefficients", 1.0001),
    ],
)
@pytest.mark.parametrize("name", ["absorb", "uniform", "random pi"])
def test_conformance_sees_planted_factors(name: str, method: str, factor: float) -> None:
    graph = GRAPHS[name]()
    _scaled(graph, method, factor)
    with pytest.raises(AssertionError):
        check_graph(graph)


@pytest.mark.parametrize("term", ["a", "b", "c", "d"])
@pytest.mark.parametrize("name", ["uniform", "random pi"])
def test_the_coefficients_check_sees_each_sign(name: str, term: str) -> None:
    graph = GRAPHS[name]()
    method = graph.coefficients

    def faulty(*args: Tensor):
        result = method(*args)
        return result._replace(**{term: -getattr(result, term)})

    object.__setattr__(graph, "coefficients", faulty)
    with pytest.raises(AssertionError):
        check_coefficients(graph, 0.5)
    with pytest.raises(AssertionError):
        check_graph(graph)


@pytest.mark.parametrize("name", ["uniform", "random pi", "absorb"])
def test_conformance_sees_a_wrong_time_of_the_analytic_step(name: str) -> None:
    graph = GRAPHS[name]()
    method = graph.posterior_weights

    def faulty(x: Tensor, score: Tensor, level: NoiseLevel, level_next: NoiseLevel):
        return method(x, score, level, NoiseLevel.of_sigma(level_next.sigma * 1.001))

    object.__setattr__(graph, "posterior_weights", faulty)
    with pytest.raises(AssertionError):
        check_graph(graph)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_sigma_goes_with_states_by_its_leading_axes(name: str) -> None:
    """A sigma of shape [B] never meets the length axis, not even when B = L."""
    graph = GRAPHS[name]()
    x = torch.zeros(3, 3, dtype=torch.int64)
    sigma = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    law = graph.transition(x, NoiseLevel.of_sigma(sigma))
    each = NoiseLevel.of_sigma(sigma[:, None].expand(3, 3))
    close(law, graph.transition(x, each), "one level per sequence")
    assert not torch.equal(law[0], law[1])
    with pytest.raises(ValueError, match="does not lead"):
        graph.transition(x, NoiseLevel.of_sigma(sigma[:2]))


PLANTS: dict[str, Plant] = {
    "perturb x 1.002": (
        "sedd_core.stages.interpolating:InterpolatingGraph.perturb",
        "< -torch.expm1(-level.at(x0).elapsed(None))",
        "< -torch.expm1(-1.002 * level.at(x0).elapsed(None))",
        lambda seed: test_perturb_draws_its_law_to_four_digits("absorb"),
    ),
    "perturb of any graph x 1.002": (
        "sedd_core.stages.graph:Graph.perturb",
        "self.transition(x0, level)",
        "self.transition(x0, level._replace(sigma=1.002 * level.sigma))",
        lambda seed: test_perturb_draws_its_law_to_four_digits("ring"),
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_found(PLANTS[name], seed, monkeypatch)
