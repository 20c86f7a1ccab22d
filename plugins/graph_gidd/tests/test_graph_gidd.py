"""The process of GIDD: conformance, the published mixture, its bound under exact scores, and absorb as a special case."""

import pytest
import torch

from sedd_core import plugin
from sedd_core.evaluation.integrand import masks_only
from sedd_core.maths.draws import Draws
from sedd_core.runs.checks import prior_is_reached
from sedd_core.sampling.conditioning import clamping_floor
from sedd_core.stages import NoiseLevel
from sedd_core.testing import Oracle, check_graph, check_sampler, random_joint


@pytest.mark.parametrize("p_uniform", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("vocab_size", [1, 4])
def test_conformance(vocab_size: int, p_uniform: float) -> None:
    check_graph(plugin("graph_gidd")(vocab_size=vocab_size, p_uniform=p_uniform))


@pytest.mark.parametrize(
    ("sampler", "noise"), [("analytic", "gidd"), pytest.param("euler", "geometric", marks=pytest.mark.slow)]
)
def test_samplers(sampler: str, noise: str) -> None:
    """Euler's order is below 1 on noise_gidd, whose rate is infinite at t = 0."""
    check_sampler(plugin(f"sampler_{sampler}")(), plugin("graph_gidd")(vocab_size=3), plugin(f"noise_{noise}")())


def test_the_published_distribution() -> None:
    """alpha = (1 - t) / (1 + c) at the token, (t mask + c uniform) / (1 + c) elsewhere, c = b sqrt(t (1 - t))."""
    graph, noise = plugin("graph_gidd")(vocab_size=4, p_uniform=0.2), plugin("noise_gidd")(p_uniform=0.2)
    t = torch.tensor([0.01, 0.3, 0.5, 0.9], dtype=torch.float64)
    c = (2 * 0.2 / 0.8 * (t * (1 - t)).sqrt())[:, None]
    token, mask, uniform = torch.eye(5)[2], torch.eye(5)[4], torch.tensor([0.25, 0.25, 0.25, 0.25, 0.0])
    expected = ((1 - t)[:, None] * token + t[:, None] * mask + c * uniform) / (1 + c)
    probs = graph.transition(torch.full((4,), 2), noise(t))
    torch.testing.assert_close(probs, expected.double(), rtol=1e-12, atol=1e-15)


def test_the_share_of_rates_into_tokens() -> None:
    """Rate into all tokens over the rate into the mask: no constant mixture has it."""
    graph, noise = plugin("graph_gidd")(vocab_size=4), plugin("noise_gidd")()
    level = noise(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))
    rates = graph.mixture(level, level)
    ratio = rates[:, :4].sum(-1) / rates[:, 4]
    torch.testing.assert_close(ratio, torch.tensor([0.333, 0.111, 0.037]).double(), rtol=2e-3, atol=0)


@pytest.mark.parametrize("seed_of_joint", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_bound_of_exact_scores_is_the_likelihood(seed_of_joint: int) -> None:
    oracle = Oracle(plugin("graph_gidd")(vocab_size=3), plugin("noise_gidd")(), random_joint(3, 2, seed_of_joint))
    exact = sum(oracle.bound((1e-5, 20.0), 200))
    torch.testing.assert_close(exact, -oracle.p0.log(), rtol=0, atol=1e-9)
    factorized = sum(oracle.bound((1e-5, 20.0), 200, factorized=True))
    torch.testing.assert_close(factorized, -oracle.p0.log(), rtol=0, atol=1e-5)


def test_without_uniform_noise_it_is_absorb() -> None:
    graph, absorb = plugin("graph_gidd")(vocab_size=4, p_uniform=0.0), plugin("graph_absorb")(vocab_size=4)
    states, x0 = torch.arange(5), torch.tensor([0, 1, 2, 3, 0])
    score = torch.rand(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for sigma in (1e-3, 0.5, 5.0):
        level, earlier = (NoiseLevel.of_sigma(torch.tensor(s, dtype=torch.float64)) for s in (sigma, 0.3 * sigma))
        for method, arguments in {
            "transition": (states, level, earlier),
            "rate_into": (states, level),
            "posterior": (states, score, level, earlier),
            "score_entropy": (score.log(), level, states, x0),
        }.items():
            ours, theirs = (getattr(process, method)(*arguments) for process in (graph, absorb))
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12, equal_nan=True)
        assert torch.equal(graph.reachable(states, level), absorb.reachable(states, level))


@pytest.mark.parametrize("arguments", [{"vocab_size": 0}, {"vocab_size": 4, "p_uniform": 1.0}])
def test_invalid_arguments_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must lie|at least 2 states"):
        plugin("graph_gidd")(**arguments)


def test_the_mixture_is_computed_once_per_level_at_the_vocabulary_of_gpt2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of all 50,257 tokens before a run, and noised batches: one per token or position would take 20 GB."""
    graph, noise, sizes = plugin("graph_gidd")(vocab_size=50257), plugin("noise_gidd")(), list[int]()
    mixture = graph.mixture

    def recorded(level: NoiseLevel, since: NoiseLevel | None = None) -> torch.Tensor:
        sizes.append(level.sigma.numel())
        return mixture(level, since)

    monkeypatch.setattr(graph, "mixture", recorded)
    assert list(prior_is_reached(graph, noise)) == []
    assert clamping_floor(graph)
    assert not masks_only(graph)
    level, x0 = noise(torch.rand(4)), torch.zeros(4, 64, dtype=torch.int64)
    assert graph.reachable(graph.perturb(x0, level, Draws(0, torch.arange(4))), level).all()
    assert max(sizes) == 4
