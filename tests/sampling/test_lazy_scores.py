"""Positions move before their targets are drawn: the same samples as from all log-scores at once, with fewer logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from head_mean import MeanHead
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.maths.categorical import categorical
from sedd_core.maths.draws import Draws
from sedd_core.model.score import ScoreModel
from sedd_core.sampling.conditioning import condition_on, score_function
from sedd_core.sampling.grid import time_grid
from sedd_core.stages import FixedTokens, Graph, Head, NoiseLevel, Step, StepWeights
from sedd_core.stages.scores import lazy_scores
from sedd_core.testing import check_head, check_sampler
from tests.support.graphs import random_pi
from tests.support.networks import network, noise_for

Analytic = plugin("sampler_analytic")
VOCAB, LENGTH = 5, 6
GRAPHS = {
    "absorb": lambda: plugin("graph_absorb")(vocab_size=VOCAB),
    "uniform": lambda: plugin("graph_uniform")(vocab_size=VOCAB),
    "mixture": lambda: random_pi(1, mask=True),
}


def model_of(graph: str, head: str, seed: int) -> ScoreModel:
    model = network(GRAPHS[graph](), seed)
    return ScoreModel(model.backbone, model.graph, MeanHead()) if head == "mean" else model


class AtOnce(Analytic):
    """Analytic steps from the log-scores of all positions, in one piece: the definition."""

    def step(self, x, level, level_next, score_fn, graph, draws, state=None) -> Tensor:
        probs = self.step_distribution(x, level, level_next, score_fn, graph)
        stay = probs.gather(-1, x[..., None])[..., 0].double()
        targets = probs.scatter(-1, x[..., None], 0.0)
        leave = targets.sum(-1, dtype=torch.float64)
        moves = draws.uniform("move", x.shape[1]) * (leave + stay) < leave
        target = draws.uniform("target", x.shape[1])[moves]
        return x.masked_scatter(moves, categorical(targets[moves], target))


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("head", ["score", "mean"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_the_same_samples_as_from_all_log_scores_at_once(graph: str, head: str, known: bool, seed: int) -> None:
    model, noise = model_of(graph, head, seed), noise_for(graph)
    draws, levels = Draws(seed, torch.arange(4)), noise(time_grid(8, 1e-3))
    tokens = torch.arange(LENGTH).remainder(VOCAB).expand(4, -1)
    fixed = FixedTokens(tokens, tokens % 3 == 0) if known else None
    score_fn = score_function(model)
    score_fn = condition_on(score_fn, fixed) if fixed else score_fn
    prior = model.graph.prior(draws, LENGTH)
    with torch.no_grad():
        samples = [
            sampler.run(prior, levels, score_fn, model.graph, draws, fixed) for sampler in (Analytic(), AtOnce())
        ]
    assert torch.equal(*samples)


@pytest.mark.parametrize("head", ["score", "mean"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_lazy_log_scores_are_those_of_the_model_up_to_a_constant_per_row(graph: str, head: str, seed: int) -> None:
    model = model_of(graph, head, seed)
    x = model.graph.prior(Draws(seed, torch.arange(3)), LENGTH)
    level = NoiseLevel.of_sigma(torch.tensor([0.1, 1.0, 4.0]))
    positions = model.graph.reachable(x, level)
    with torch.no_grad():
        every, lazy = model(x, level, positions), lazy_scores(score_function(model), x, level, positions)
        some = torch.tensor([4, 0, 2])
        difference = lazy.log_score(some) - every[some]
    assert torch.equal(lazy.rows, positions.flatten().nonzero()[:, 0])
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference), rtol=0, atol=1e-5)


class Counted(ScoreModel):
    """Counts the rows whose logits are computed."""

    rows = 0

    def count(self) -> None:
        def logits(features: Tensor) -> Tensor:
            self.rows += len(features)
            return type(self.backbone).logits(self.backbone, features)

        self.backbone.logits = logits  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("head", "most"), [("mean", 1.0), ("score", 8.0)])
def test_the_head_runs_where_positions_move_if_its_total_is_known(head: str, most: float, seed: int) -> None:
    """Each masked position moves once; a head without a known total runs at every masked position of every step."""
    model = model_of("absorb", head, seed)
    model = Counted(model.backbone, model.graph, model.head)
    model.count()
    noise, draws = noise_for("absorb"), Draws(seed, torch.arange(4))
    with torch.no_grad():
        levels, prior = noise(time_grid(8, 1e-3)), model.graph.prior(draws, LENGTH)
        Analytic().run(prior, levels, score_function(model), model.graph, draws)
    assert prior.numel() <= model.rows <= most * prior.numel()
    assert (model.rows == prior.numel()) == (head == "mean")


class Known:
    """Exact log-scores whose sums are known, as those of a normalized head on absorb; `off` plants a fault."""

    def __init__(self, score_fn: Any, off: float) -> None:
        self.score_fn, self.off = score_fn, off

    def __call__(self, x: Tensor, level: NoiseLevel, positions: Tensor | None = None) -> Tensor:
        return self.score_fn(x, level, positions)

    def lazy(self, x: Tensor, level: NoiseLevel, positions: Tensor) -> Any:
        scores = lazy_scores(self.score_fn, x, level, positions)
        others = 1 / torch.expm1(level.at(x).sigma.flatten()[scores.rows])

        class Sums:
            rows, log_score, off = scores.rows, staticmethod(scores.log_score), self.off

            def others(self) -> Tensor:
                return others * self.off

        return Sums()


class Early(Analytic):
    """Moves before scores; `check_sampler` finds a fault in their sums by its draws alone."""

    def __init__(self, off: float = 1.0) -> None:
        super().__init__()
        self.off = off

    def step(self, x, level, level_next, score_fn, graph, draws, state=None) -> Tensor:
        return super().step(x, level, level_next, Known(score_fn, self.off), graph, draws, state)


def test_moves_from_known_sums_have_the_exact_law() -> None:
    graph, noise = plugin("graph_absorb")(vocab_size=3), plugin("noise_loglinear")()
    check_sampler(Early(), graph, noise)
    with pytest.raises(AssertionError, match="total variation"):
        check_sampler(Early(off=0.6), graph, noise)


class Halved(Analytic):
    """A subclass with weights of its own alone: what it inherits for sums no longer applies."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        values, total = super().step_weights(x, score, step, graph)
        stay = values.gather(-1, x[:, None])
        return StepWeights((0.0 * values).scatter(-1, x[:, None], stay), total)


class Sharper(MeanHead):
    """Log-scores that no longer have the sums of a mean."""

    def log_score(self, logits, x, level, graph) -> Tensor:
        return super().log_score(logits, x, level, graph) - 30.0


@pytest.mark.parametrize(("sampler", "head"), [(Halved(), MeanHead()), (Analytic(), Sharper())])
def test_a_subclass_that_overrides_one_method_of_a_pair_is_asked_for_all_scores(sampler: Any, head: Head) -> None:
    """Neither moves: by its weights, and by its scores of e^-30."""
    model = network(plugin("graph_absorb")(vocab_size=VOCAB), 0)
    model = ScoreModel(model.backbone, model.graph, head)
    draws, levels = Draws(0, torch.arange(4)), noise_for("absorb")(torch.tensor([0.9, 0.5]).double())
    x = model.graph.prior(draws, LENGTH)
    now, then = (levels.pick(index).at(x[:, 0]) for index in (0, 1))
    with torch.no_grad():
        assert torch.equal(sampler.step(x, now, then, score_function(model), model.graph, draws), x)
        assert not torch.equal(
            Analytic().step(x, now, then, score_function(model_of("absorb", "mean", 0)), model.graph, draws), x
        )


class WrongSum(MeanHead):
    def others(self, x, level, graph) -> Tensor | None:
        known = super().others(x, level, graph)
        return None if known is None else 1.001 * known


def test_a_wrong_sum_is_detected() -> None:
    check_head(MeanHead(), plugin("graph_absorb")(vocab_size=4))
    with pytest.raises(AssertionError, match="others"):
        check_head(WrongSum(), plugin("graph_absorb")(vocab_size=4))


def test_logits_that_are_not_finite_are_an_error_where_positions_move() -> None:
    model = model_of("absorb", "mean", 0)
    torch.nn.init.constant_(model.backbone.head.bias, torch.nan)
    draws, levels = Draws(0, torch.arange(4)), noise_for("absorb")(time_grid(2, 1e-3))
    with pytest.raises(UserError, match="NaN or infinite"), torch.no_grad():
        Analytic().run(model.graph.prior(draws, LENGTH), levels, score_function(model), model.graph, draws)
