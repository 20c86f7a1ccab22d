"""Which processes have an infinite or a remaining prior term, and what is said of it: by their laws, not their types."""

from __future__ import annotations

import math

import pytest
import torch
from head_score import ScoreHead
from torch import Tensor

from sedd_core import load_model, plugin
from sedd_core.evaluation import bound
from sedd_core.evaluation.integrand import masks_only
from sedd_core.maths.draws import Draws
from sedd_core.model.score import ScoreModel
from sedd_core.runs.checks import prior_is_reached
from sedd_core.stages import Batch, Graph, InterpolatingGraph, NoiseLevel
from sedd_core.testing import Oracle, check_graph, random_joint
from tests.support.bounds import held_tail
from tests.support.golden_figures import GOLDEN
from tests.support.graphs import GRAPHS, level_of
from tests.support.networks import Table


class Masking(Graph):
    """To the mask from every token at a rate, and from token to token in a circle at another: no closed form."""

    def __init__(self, vocab_size: int = 5, *, rate: float = 1.0, walk: float = 0.0) -> None:
        super().__init__(vocab_size=vocab_size, num_states=vocab_size + 1, mask=vocab_size)
        tokens = torch.arange(vocab_size)
        matrix = torch.zeros(vocab_size + 1, vocab_size + 1, dtype=torch.float64)
        matrix[tokens, (tokens + 1) % vocab_size] = walk
        matrix[tokens, vocab_size] = rate
        self.matrix = matrix - matrix.sum(-1).diag()

    def transition(self, x: Tensor, level: NoiseLevel, since: NoiseLevel | None = None) -> Tensor:
        elapsed = level.at(x).elapsed(None if since is None else since.at(x))
        kernel = torch.matrix_exp(elapsed[..., None, None] * self.matrix)
        return kernel.gather(-2, x[..., None, None].expand(*x.shape, 1, self.num_states))[..., 0, :]

    def rate_into(self, x: Tensor, level: NoiseLevel) -> Tensor:
        return self.matrix.T[x]

    def prior_law(self) -> Tensor:
        return torch.nn.functional.one_hot(torch.tensor(self.mask), self.num_states).double()


def mixture(*pi: float, mask: int | None = None) -> InterpolatingGraph:
    tokens = len(pi) - (mask is not None)
    return InterpolatingGraph(torch.tensor(pi, dtype=torch.float64), vocab_size=tokens, mask=mask)


OPEN: dict[str, Graph] = {
    "a pi of 0 at a token": mixture(0.5, 0.0, 0.5, mask=2),
    "a pi of 0 at token 0": mixture(0.0, 0.5, 0.5, mask=2),
    "a pi of 0 at a token, without a mask": mixture(0.5, 0.5, 0.0),
    "token walk + mask": Masking(3, walk=0.5),
    "fast masking": Masking(3, rate=2.0),
    "gidd": plugin("graph_gidd")(vocab_size=3),
}
"""Processes whose prior term is infinite at any finite noise."""
CLOSED: dict[str, Graph] = {
    "absorb": plugin("graph_absorb")(vocab_size=5),
    "masking without a closed form": Masking(),
    "pi at the mask": mixture(0.0, 0.0, 1.0, mask=2),
    "hybrid": mixture(0.3, 0.3, 0.4, mask=2),
    "ring": GRAPHS["ring"](),
}
MASKS = ("absorb", "masking without a closed form", "pi at the mask")


@pytest.mark.parametrize("name", [*OPEN, *CLOSED])
def test_ends_are_determined_from_laws(name: str) -> None:
    """No bound is infinite, so nothing is warned of."""
    graph, noise = (OPEN | CLOSED)[name], plugin("noise_geometric")()
    assert masks_only(graph) == (name in MASKS)
    finite = graph.has_finite_prior(torch.arange(graph.vocab_size), level_of(6.9))
    assert torch.equal(finite, Graph.has_finite_prior(graph, torch.arange(graph.vocab_size), level_of(6.9)))
    assert finite.all() == (name not in OPEN and name not in MASKS)
    assert list(prior_is_reached(graph, noise)) == []
    model = ScoreModel(Table(torch.zeros(graph.num_states)), graph, ScoreHead(scale_by_sigma=False))
    batch = Batch(torch.arange(graph.vocab_size)[:, None])
    terms = bound.terms(model, noise, batch, Draws(0, torch.arange(graph.vocab_size)), points=4, t_min=1e-3)
    assert torch.stack(terms).isfinite().all()


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("sigma_end", [20.0, 6.9])
def test_the_bound_of_exact_scores_beyond_the_end(name: str, sigma_end: float) -> None:
    """-log p0 at sigma_end 20; at 6.9 the mean excess is never negative, and of the order of exp(-2 sigma_end)."""
    oracle = Oracle(OPEN[name], plugin("noise_geometric")(), random_joint(OPEN[name].vocab_size, 2, seed=3))
    terms = oracle.bound((1e-6, sigma_end), 200)
    excess = terms.diffusion + terms.reconstruction + held_tail(oracle, sigma_end, 80) + oracle.p0.log()
    if sigma_end == 20:
        torch.testing.assert_close(excess, torch.zeros_like(excess), rtol=0, atol=1e-9)
    else:
        assert -1e-12 < (oracle.p0 * excess).sum() < 0.1 * math.exp(-2 * sigma_end)


@pytest.mark.parametrize("name", OPEN)
def test_the_estimate_beyond_the_end_is_unbiased(name: str, seed: int) -> None:
    """One token under its exact model: the part beyond the end and the whole bound, at 1e-5 each."""
    graph = OPEN[name]
    count = 4000 if isinstance(graph, InterpolatingGraph) else 200  # one kernel for each level
    p0 = random_joint(graph.vocab_size, 1, seed=4)
    logits = torch.full((graph.num_states,), -math.inf, dtype=torch.float64)
    logits[: graph.vocab_size] = p0.log()
    model = ScoreModel(Table(logits), graph, plugin("head_mean")())
    tokens = torch.arange(graph.vocab_size)
    tokens = tokens[~graph.has_finite_prior(tokens, level_of(2.0))]

    def estimated(eps: float) -> tuple[bound.Terms, Tensor]:
        noise, batch = plugin("noise_loglinear")(eps=eps), Batch(tokens.repeat_interleave(count)[:, None])
        draws = Draws(seed, torch.arange(len(batch.tokens)))
        terms = bound.terms(model, noise, batch, draws, points=4, t_min=1e-4)
        sigma_end = noise(torch.ones(())).sigma.item()
        return terms, held_tail(Oracle(graph, noise, p0), sigma_end, 80)[tokens]

    terms, tail = estimated(0.1)
    check_mean(terms.prior, tail, p0[tokens], count, power=True)
    terms, _ = estimated(1e-3)
    check_mean(torch.stack(terms).sum(0), -p0[tokens].log(), p0[tokens], count, power=False)


def check_mean(nats: Tensor, expected: Tensor, p0: Tensor, count: int, *, power: bool) -> None:
    """The mean of estimates [V count], averaged over the tokens, is the expected one within 4.5 standard errors."""
    estimates = nats.view(-1, count)
    allowed = 4.5 * (p0 * estimates.std(-1) / math.sqrt(count)).norm().item() + 1e-6
    assert abs((p0 * (estimates.mean(-1) - expected)).sum().item()) < allowed
    assert not power or (p0 * expected).sum() > 2 * allowed, "a missing term or a factor of 2 would pass"


def test_a_prior_that_one_token_does_not_reach_is_warned_of() -> None:
    """The largest term of all tokens counts, not that of token 0: here a rare one's."""
    pi = (0.5, 0.5 - 1e-9, 1e-9)
    noise = plugin("noise_loglinear")(eps=2e-4)
    graph = mixture(*pi)
    level = noise(torch.ones(()))
    largest = graph.prior_kl(torch.tensor([2]), level).item()
    assert graph.prior_kl(torch.tensor([0]), level).item() < 1e-4 / 5 < 1e-4 < largest
    (warning,) = prior_is_reached(graph, noise)
    assert f"up to {largest:.2g} nats per token" in warning
    assert list(prior_is_reached(mixture(*pi), plugin("noise_geometric")(sigma_max=1000.0))) == []


class Settling(InterpolatingGraph):
    """Replaces by token 0 at first, and by any token in the end: rho_sigma = pi + exp(-sigma) (e_0 - pi)."""

    def __init__(self, states: int) -> None:
        first = torch.nn.functional.one_hot(torch.tensor(0), states).double()
        pi = torch.full((states,), 1 / states, dtype=torch.float64)
        super().__init__(pi, vocab_size=states, components=torch.stack([first, (1 - first) / (states - 1)]))

    def mixture_weights(self, level: NoiseLevel, since: NoiseLevel | None = None) -> Tensor:
        elapsed = level.elapsed(since)
        mean = torch.where(
            elapsed > 0, elapsed / -torch.expm1(-elapsed), 1.0
        )  # of exp(-sigma), by the kernel's weights
        others = (1 - self.pi[0]) * (1 - torch.exp(-level.sigma) * mean)
        return torch.stack([1 - others, others], -1)


def test_the_prior_term_of_a_changing_mixture_at_one_level() -> None:
    """The mixture at a level of shape [] is no constant one, though it has the shape of one."""
    graph = Settling(4)
    check_graph(graph)
    level, tokens = level_of(2.0), torch.arange(4)
    probs = graph.transition(tokens, level)
    expected = (probs * (probs / 0.25).log()).sum(-1)
    torch.testing.assert_close(graph.prior_kl(tokens, level), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(graph.prior_kl(tokens, level.at(tokens)), expected, rtol=1e-12, atol=0)


def test_masking_of_any_type_has_the_bound_of_absorb(seed: int) -> None:
    absorb, _, noise = load_model(GOLDEN / "models" / "absorb_scaled")
    tokens = absorb.graph.vocab_size
    model = ScoreModel(absorb.backbone, Masking(tokens), ScoreHead(scale_by_sigma=False))
    reference = ScoreModel(absorb.backbone, absorb.graph, ScoreHead(scale_by_sigma=False))
    batch, draws = Batch(torch.tensor([[3, 17, 2, 2]])), Draws(seed, torch.arange(1))
    values = [torch.stack(bound.terms(m, noise, batch, draws, points=2, t_min=1e-3)) for m in (model, reference)]
    torch.testing.assert_close(*values, rtol=1e-6, atol=1e-9)
