"""Which processes have an infinite or a remaining prior term, and what is said of it: by their laws, not their types."""

from __future__ import annotations

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
from sedd_core.testing import check_graph
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


@pytest.mark.parametrize(
    ("graph", "masks", "word"),
    [
        (plugin("graph_absorb")(vocab_size=5), True, None),
        (Masking(), True, None),
        (mixture(0.0, 0.0, 1.0, mask=2), True, None),
        (Masking(walk=0.5), False, "with 5 of the 5 tokens"),
        (Masking(rate=2.0), False, "with 5 of the 5 tokens"),
        (mixture(0.5, 0.0, 0.5, mask=2), False, "with 1 of the 2 tokens"),
        (mixture(0.0, 0.5, 0.5, mask=2), False, "with 1 of the 2 tokens"),
        (mixture(0.5, 0.5, 0.0), False, "with 1 of the 3 tokens"),
        (mixture(0.3, 0.3, 0.4, mask=2), False, None),
        (GRAPHS["ring"](), False, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_warning_says_why_a_bound_is_infinite(graph: Graph, masks: bool, word: str | None) -> None:
    """Exactly where it is: the bound of every token is computed beside it."""
    assert masks_only(graph) == masks
    noise = plugin("noise_geometric")()
    said = list(prior_is_reached(graph, noise))
    if word is None:
        assert said == []
    else:
        (warning,) = said
        assert "the likelihood bound is infinite" in warning
        assert word in warning
    model = ScoreModel(Table(torch.zeros(graph.num_states)), graph, ScoreHead(scale_by_sigma=False))
    batch = Batch(torch.arange(graph.vocab_size)[:, None])
    terms = bound.terms(model, noise, batch, Draws(0, torch.arange(graph.vocab_size)), points=4, t_min=1e-3)
    assert not torch.stack(terms).isnan().any()
    assert sum(terms).isinf().any() == (word is not None)


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

    def mixture(self, level: NoiseLevel, since: NoiseLevel | None = None) -> Tensor:
        elapsed = level.elapsed(since)
        mean = torch.where(
            elapsed > 0, elapsed / -torch.expm1(-elapsed), 1.0
        )  # of exp(-sigma), by the kernel's weights
        first = torch.nn.functional.one_hot(torch.tensor(0), self.num_states) - self.pi
        return self.pi + (torch.exp(-level.sigma) * mean)[..., None] * first


def test_the_prior_term_of_a_changing_mixture_at_one_level() -> None:
    """The mixture at a level of shape [] is no constant one, though it has the shape of one."""
    graph = Settling(torch.full((4,), 0.25, dtype=torch.float64), vocab_size=4)
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
