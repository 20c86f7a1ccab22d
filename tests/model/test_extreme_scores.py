"""Log-scores of -inf, beyond what float32 can exponentiate, and rows that leave nothing to draw."""

from __future__ import annotations

import math

import pytest
import torch
from head_score import ScoreHead
from objective_score_entropy import ScoreEntropy
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.evaluation import bound
from sedd_core.maths.categorical import categorical
from sedd_core.maths.draws import Draws
from sedd_core.maths.numerics import row_scores
from sedd_core.model.score import ScoreModel
from sedd_core.sampling.sample import sample
from sedd_core.stages import Batch, Graph, InterpolatingGraph, NoiseLevel, Step
from sedd_core.stages.sampler import denoising_distribution
from tests.support.graphs import GRAPHS, level_of
from tests.support.networks import Table

SAMPLERS = ["analytic", "euler"]


def padded(graph: str) -> tuple[ScoreModel, ScoreModel]:
    """A vocabulary of 5, of which the network forbids the last two tokens; and the same without those."""
    law = torch.tensor([0.5, 0.3, 0.2])
    models = []
    for padding in (2, 0):
        process = padded_uniform(padding) if graph == "uniform" else plugin("graph_absorb")(vocab_size=3 + padding)
        logits = torch.cat([law.log(), torch.full((process.num_states - 3,), -math.inf)])
        models.append(ScoreModel(Table(logits), process, ScoreHead(scale_by_sigma=False)))
    return models[0], models[1]


def padded_uniform(padding: int) -> InterpolatingGraph:
    """Uniform over the tokens that are there."""
    pi = torch.cat([torch.full((3,), 1 / 3), torch.zeros(padding)]).double()
    return InterpolatingGraph(pi / pi.sum(), vocab_size=3 + padding)


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_a_padded_vocabulary_has_the_loss_and_gradient_of_one_without(graph: str) -> None:
    """A score of 0 costs nothing where the true one is 0; before, 0 * -inf made the loss NaN."""
    losses, slopes = [], []
    for model in padded(graph):
        x0 = torch.tensor([[0, 1, 2, 0, 1]])
        x = torch.tensor([[0, 1, 2, 1, 2]]) if graph == "uniform" else torch.full_like(x0, model.graph.mask)
        level = NoiseLevel(*(torch.tensor([part]).double() for part in (0.5, 0.7, 1.3)))
        loss = ScoreEntropy().integrand(model, x, level, Batch(x0)).mean()
        loss.backward()
        losses.append(loss.item())
        slopes.append(model.backbone.head.bias.grad[:3])
        assert model.backbone.head.bias.grad.isfinite().all()
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_dense_entropy_and_the_closed_form_agree_on_forbidden_states(name: str) -> None:
    """Infinite where a forbidden state is possible, and else the limit of ever smaller scores; never NaN."""
    graph, level = GRAPHS[name](), level_of(0.7)
    x, x0 = (grid.flatten() for grid in torch.meshgrid(
        torch.arange(graph.num_states), torch.arange(graph.vocab_size), indexing="ij"
    ))  # fmt: skip
    possible = graph.transition(x0, level).gather(-1, x[:, None])[:, 0] > 0
    x, x0 = x[possible], x0[possible]
    for forbidden in range(graph.num_states):
        u = torch.zeros(len(x), graph.num_states).double()
        u[:, forbidden] = -math.inf
        value, dense = graph.score_entropy(u, level, x, x0), Graph.score_entropy(graph, u, level, x, x0)
        assert not value.isnan().any()
        assert not dense.isnan().any()
        limit = graph.score_entropy(u.clamp(min=-1e9), level, x, x0)
        finite = limit < 1e6
        torch.testing.assert_close(value[finite], limit[finite])
        torch.testing.assert_close(dense[finite], limit[finite])
        assert value[~finite].isinf().all()
        assert dense[~finite].isinf().all()


def test_a_logit_of_89_has_its_loss_in_float32() -> None:
    """exp(89) is no float32, but a float64: the sums are."""
    graph, mask = plugin("graph_absorb")(vocab_size=3), torch.tensor([3])
    u, level = torch.tensor([[89.0, 1.0, -2.0, 0.0]]), level_of(0.7)
    value, exact = (graph.score_entropy(v, level, mask, torch.tensor([1])).item() for v in (u, u.double()))
    assert value == pytest.approx(exact, rel=1e-5)
    assert math.isfinite(exact)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("graph", ["absorb", "uniform"])
@pytest.mark.parametrize("large", [60.0, 89.0, 400.0, 3e38])
def test_large_scores_have_the_law_that_float64_gives(graph: str, name: str, large: float) -> None:
    """A move for sure, to the targets by their scores; the excess over one is counted as clipped."""
    process, sampler = plugin(f"graph_{graph}")(vocab_size=4), plugin(f"sampler_{name}")()
    x = torch.tensor([[process.num_states - 1]])
    u = torch.tensor([large, large - 1, -large, 2.0, 0.0][: process.num_states]).scatter(0, x[0], 0.0)
    noise = plugin("noise_loglinear")()
    levels = noise(torch.tensor([0.6]).double()), noise(torch.tensor([0.4]).double())

    def score_fn(x: Tensor, level: NoiseLevel, positions: Tensor | None = None) -> Tensor:
        return u[None] if positions is not None else u[None, None]

    law = sampler.step_distribution(x, *levels, score_fn, process)[0, 0].double()
    double = u.double().clamp(-300, 300)
    double[1] += (u[1] - u[0]) - (double[1] - double[0])
    right, _ = sampler.step_weights(x[0], double.exp()[None], Step(*levels), process)
    torch.testing.assert_close(law[:2], (right / right.sum())[0, :2], rtol=1e-5, atol=0)
    assert law[2:].sum() < 1e-20
    drawn = sampler.step(x, *levels, score_fn, process, Draws(0, torch.arange(1)))
    assert drawn.item() in (0, 1)
    assert sampler.stats.clipped == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("small", [-110.0, -1e4, -3e38])
def test_the_last_denoising_takes_tokens_by_their_scores_however_small(small: float) -> None:
    """All of them underflow in float32; before, the draw failed with an index out of range."""
    graph, noise, sampler = (
        plugin("graph_absorb")(vocab_size=3),
        plugin("noise_loglinear")(),
        plugin("sampler_euler")(),
    )
    u = torch.tensor([small, small - 1, -math.inf, 0.0])

    def score_fn(x: Tensor, level: NoiseLevel, positions: Tensor) -> Tensor:
        return u.expand(int(positions.sum()), -1)

    level, x = noise(torch.tensor([1e-5]).double()), torch.tensor([[3, 1]])
    _, law = denoising_distribution(x, level, score_fn, graph)
    right = torch.tensor([1.0, math.exp(-1), 0.0, 0.0]) if small > -1e30 else torch.tensor([1.0, 1.0, 0.0, 0.0])
    torch.testing.assert_close(law[0], right / right.sum())
    out = sampler.denoise(x, level, score_fn, graph, Draws(0, torch.arange(1)))
    assert out[0, 0] in (0, 1)
    assert out[0, 1] == 1
    assert sampler.stats.clipped == 0


def test_ordinary_rows_are_exponentiated_as_they_are(seed: int) -> None:
    """Bit for bit: same seeds keep giving the same samples."""
    u = 15 * torch.randn(200, 30, generator=torch.Generator().manual_seed(seed))
    here = torch.arange(200) % 30
    u = u.scatter(-1, here[:, None], 0.0)
    assert torch.equal(row_scores(u, here), u.exp())


def test_a_row_without_mass_is_one_clear_error() -> None:
    with pytest.raises(UserError, match=r"No state can be drawn at 1 of 3 positions.*log-scores of -inf"):
        categorical(torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0]]), torch.full((3,), 0.5).double())
    model = ScoreModel(Table(torch.full((4,), -math.inf)), plugin("graph_absorb")(vocab_size=3), ScoreHead())
    with pytest.raises(UserError, match="No state can be drawn"):
        sample(
            model, plugin("noise_loglinear")(), plugin("sampler_analytic")(), count=2, length=3, steps=2, t_min=1e-3,
            seed=0, batch_size=2,
        )  # fmt: skip


@pytest.mark.parametrize("score", [math.nan, math.inf])
@pytest.mark.parametrize("name", SAMPLERS)
def test_nan_and_infinite_scores_are_called_so(name: str, score: float) -> None:
    model = ScoreModel(Table(torch.tensor([0.0, score, 0.0, 0.0])), plugin("graph_absorb")(vocab_size=3), ScoreHead())
    with pytest.raises(UserError, match="NaN or infinite scores"):
        sample(
            model, plugin("noise_loglinear")(), plugin(f"sampler_{name}")(), count=2, length=3, steps=2, t_min=1e-3,
            seed=0, batch_size=2,
        )  # fmt: skip


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_the_bound_of_data_that_the_network_forbids_is_infinite(graph: str, seed: int) -> None:
    """Not NaN; and with a padded vocabulary and data that it allows, it is that of the vocabulary without padding."""
    noise, draws = plugin("noise_geometric")(), Draws(seed, torch.arange(8))
    allowed = torch.tensor([[0, 1, 2, 2, 0, 1]]).expand(8, -1)
    values = [
        torch.stack(bound.terms(model, noise, Batch(allowed), draws, points=4, t_min=0.3)) for model in padded(graph)
    ]
    torch.testing.assert_close(values[0], values[1], rtol=1e-5, atol=1e-7)
    forbidden = allowed.clone()
    forbidden[:, 3] = 4
    terms = bound.terms(padded(graph)[0], noise, Batch(forbidden), draws, points=4, t_min=0.3)
    assert not torch.stack(terms).isnan().any()
    assert sum(terms).isinf().sum() > 4  # all but those where that position was never noised
    counts = forbidden != 4  # it may be padding
    terms = bound.terms(padded(graph)[0], noise, Batch(forbidden, counts), draws, points=4, t_min=0.3)
    assert torch.stack(terms).isfinite().all()
