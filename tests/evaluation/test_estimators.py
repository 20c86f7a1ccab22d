"""Every estimator of the bound's integral: no bias, its variance, and the standard errors over draws and documents."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from head_score import ScoreHead
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.evaluation.bound import Estimation, Piece, estimate, terms
from sedd_core.evaluation.estimators import ESTIMATORS, WHOLE, Method, Strata, estimator_for
from sedd_core.evaluation.result import Bound, Terms, merge
from sedd_core.maths.draws import Draws
from sedd_core.model.score import ScoreModel
from sedd_core.stages import Batch
from tests.support.bounds import T_MIN, exact_absorb, exact_uniform
from tests.support.networks import Table
from tests.support.planted import Plant, check_found

LOGITS = torch.tensor([0.9, 0.4, -0.3, -1.0, 0.2])
MODELS = {
    "absorb": (
        ScoreModel(Table(torch.cat([LOGITS, torch.zeros(1)])), plugin("graph_absorb")(vocab_size=5), ScoreHead())
    ),
    "uniform": (ScoreModel(Table(LOGITS), plugin("graph_uniform")(vocab_size=5), ScoreHead(scale_by_sigma=False))),
}
"""Scores that fit nothing, of 5 tokens."""
NOISE = plugin("noise_geometric")(sigma_min=0.01, sigma_max=3.0)
CASES = [(model, name) for model in MODELS for name in ESTIMATORS if model == "absorb" or name not in WHOLE]
X0 = torch.tensor([3, 1])


def values_of(model: ScoreModel, name: str, seed: int, copies: int, points: int = 4) -> Tensor:
    """The terms [3, copies] of copies of one sequence."""
    draws, index = Draws(seed, torch.arange(copies)), torch.arange(copies)
    strata = Strata(index % 10, torch.full_like(index, 10))
    batch, method = Batch(X0.expand(copies, -1)), Method(estimator=name)
    found = terms(model, NOISE, batch, draws, points=points, t_min=T_MIN, method=method, strata=strata)
    return torch.stack(found)


def check_diffusion(model_name: str, name: str, seed: int) -> None:
    """The mean of the diffusion term within 4.5 standard errors of the sum over all states (2.5 % at most each)."""
    model = MODELS[model_name]
    truth = (exact_absorb if model_name == "absorb" else exact_uniform)(model, NOISE, X0)[0].item()
    values = values_of(model, name, seed, 3000, points=24 if name == "quadrature" else 4)[0]
    error = values.std().item() / math.sqrt(len(values))
    assert abs(values.mean().item() - truth) < 4.5 * error, f"{values.mean()} ± {error}, not {truth}"
    assert error < 0.03 * truth


@pytest.mark.parametrize(("model_name", "name"), CASES)
def test_every_estimator_is_unbiased(model_name: str, name: str, seed: int) -> None:
    check_diffusion(model_name, name, seed)


def test_quadrature_converges_in_its_nodes() -> None:
    """24 nodes and 48 agree within 4.5 standard errors."""
    model = MODELS["uniform"]
    (one,), (two,) = ([values_of(model, "quadrature", 7, 1500, points=points)[0]] for points in (24, 48))
    error = math.hypot(one.std().item(), two.std().item()) / math.sqrt(1500)
    assert abs((one.mean() - two.mean()).item()) < 4.5 * error


@pytest.mark.parametrize("name", ["independent", "low_discrepancy"])
def test_the_spread_of_repeats_is_the_error_over_draws(name: str, seed: int) -> None:
    """Of 40 estimates of one set, against the mean of what each states: within a factor of 1.6 (4.5 standard errors)."""
    model, method = MODELS["absorb"], Method(estimator=name, left_out=("reconstruction", "prior"))
    batch, rows = Batch(torch.arange(24).view(8, 3) % 5), torch.arange(8)
    found = []
    for number in range(40):
        settings = Estimation(seed=seed + number, points=1, t_min=T_MIN, repeats=4, total=8, method=method)
        found.append(estimate(model, NOISE, iter([Piece(rows, rows, batch)]), no_sizes, settings))
    values = torch.tensor([bound.per(bound.tokens)[0] for bound in found])
    stated = torch.tensor([bound.draws_error(bound.tokens) or math.nan for bound in found])
    assert 1 / 1.6 < values.std() / stated.square().mean().sqrt() < 1.6


def no_sizes(batch: Batch) -> tuple[Tensor, Tensor]:
    zeros = torch.zeros(len(batch.tokens), dtype=torch.int64)
    return zeros, zeros


def test_stratified_times_vary_less_than_independent_ones(seed: int) -> None:
    """By a fifth at least, at equal numbers of network calls: over the points of a sequence, and over a batch.

    Of 40 tokens, so that the states matter less than the times, under a schedule that weighs times unequally.
    """
    model, rows, x0 = MODELS["absorb"], torch.arange(300), (torch.arange(40) % 5).expand(300, -1)

    def spread(name: str) -> float:
        strata = Strata(rows % 10, torch.full_like(rows, 10))
        method = Method(estimator=name, left_out=("reconstruction", "prior"))
        settings = {"points": 4, "t_min": T_MIN, "method": method, "strata": strata}
        values = terms(model, NOISE, Batch(x0), Draws(seed, rows), **settings).diffusion
        return values.view(-1, 10).mean(-1).std().item()

    one = spread("independent")
    assert spread("stratified") < 0.8 * one
    assert spread("low_discrepancy") < 0.8 * one


def test_what_is_left_out_is_nothing_and_costs_nothing() -> None:
    model = MODELS["uniform"]
    batch, draws = Batch(X0[None]), Draws(0, torch.arange(1))
    whole = terms(model, NOISE, batch, draws, points=2, t_min=T_MIN)
    part = terms(model, NOISE, batch, draws, points=2, t_min=T_MIN, method=Method(left_out=("reconstruction", "prior")))
    assert (part.diffusion.item(), part.reconstruction.item(), part.prior.item()) == (whole.diffusion.item(), 0, 0)
    calls = []
    model.backbone.register_forward_pre_hook(lambda module, arguments: calls.append(1))
    terms(model, NOISE, batch, draws, points=2, t_min=T_MIN, method=Method(left_out=("diffusion",)))
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["absorb", "uniform"])
def test_padding_can_be_noised_without_being_scored(name: str, seed: int) -> None:
    """What is text and what is not add up to the whole, in the same draws: unlike given tokens, padding is noised."""
    model = MODELS[name]
    x0, draws = torch.tensor([[3, 1, 0, 4]]).expand(20, -1), Draws(seed, torch.arange(20))
    text = torch.tensor([True, False, True, False]).expand(20, -1)
    batches = Batch(x0, text=text), Batch(x0, text=~text), Batch(x0)
    method = Method(estimator="stratified", scored="text")
    some, rest, whole = (
        torch.stack(terms(model, NOISE, one, draws, points=2, t_min=T_MIN, method=method)) for one in batches
    )
    torch.testing.assert_close(some + rest, whole, rtol=1e-6, atol=1e-9)


def bound_of(nats: list[float], tokens: list[int], batches: list[int], **parts: object) -> Bound:
    values = torch.tensor(nats, dtype=torch.float64)
    return Bound(
        Terms(values, 0 * values, 0 * values),
        torch.tensor(tokens),
        torch.tensor(tokens),
        torch.tensor(tokens),
        torch.tensor(batches),
        **parts,  # type: ignore[arg-type]
    )


def test_pooling_by_hand() -> None:
    """Batches of 10 nats on 4 tokens and 9 on 3: 19 / 7 by tokens, (2.5 + 3) / 2 by batches."""
    rows = ([4.0, 6.0, 9.0], [2, 2, 3], [0, 0, 1])
    by_tokens, by_batches = (bound_of(*rows, pooling=pooling) for pooling in ("tokens", "batches"))
    assert by_tokens.per(by_tokens.tokens)[0] == pytest.approx(19 / 7)
    value, error = by_batches.per(by_batches.tokens)
    assert value == pytest.approx(2.75)
    shares = torch.tensor([1 / 8, 1 / 8, 1 / 6])
    residuals = shares * torch.tensor([4 - 5.5, 6 - 5.5, 9 - 8.25])
    assert error == pytest.approx((residuals.std() * math.sqrt(3)).item())
    one = bound_of(*rows[:2], [0, 0, 0], pooling="batches")  # of one batch alone both are the same
    assert one.per(one.tokens) == pytest.approx(by_tokens.per(by_tokens.tokens))


def test_the_error_over_draws_by_hand() -> None:
    """Two repeats of 18 and 20 nats on 7 tokens: 2 / 7 apart, a standard error of half of that."""
    sums = torch.zeros(2, 3, 1, dtype=torch.float64)
    sums[:, 0, 0] = torch.tensor([18.0, 20.0])
    bound = bound_of([4.0, 6.0, 9.0], [2, 2, 3], [0, 0, 0], by_repeat=sums)
    assert bound.draws_error(bound.tokens) == pytest.approx(1 / 7)
    assert merge([bound, bound]).draws_error(torch.cat([bound.tokens, bound.tokens])) == pytest.approx(1 / 7)
    assert bound_of([1.0, 2.0], [1, 1], [0, 0], by_repeat=sums[:1]).draws_error(torch.ones(2).long()) is None


def test_strata_are_cut_by_index() -> None:
    settings = Estimation(seed=0, points=1, t_min=1e-3, total=10, batch=4)
    number, strata = settings.strata(torch.arange(10))
    assert number.tolist() == [0] * 4 + [1] * 4 + [2] * 2
    assert strata.number.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert strata.of.tolist() == [4] * 8 + [2] * 2


def test_an_estimator_of_masks_needs_a_graph_of_masks() -> None:
    model = MODELS["uniform"]
    with pytest.raises(UserError, match="needs a graph whose noise is all masking"):
        estimator_for("exact_k", model.graph)
    assert estimator_for("auto", model.graph) == "log_sigma"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Method(estimator="exactk"), "estimator 'exactk' does not exist. Did you mean 'exact_k'?"),
        (lambda: Method(left_out=("tail",)), "left_out 'tail' does not exist"),
        (lambda: Method(left_out=("prior", "diffusion", "reconstruction")), "one term"),
        (lambda: Method(t_max=2.0), "t_max"),
        (lambda: Estimation(seed=0, points=1, t_min=0.5, method=Method(t_max=0.5)), "t_min must lie between"),
        (lambda: Estimation(seed=0, points=1, t_min=0.5, repeats=0), "repeats must be at least 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        make()


PLANTS: dict[str, Plant] = {
    "no weight of lambda": (
        "sedd_core.evaluation.estimators:by_lambda",
        "torch.expm1(clamped) / lambda_",
        "torch.expm1(clamped)",
        lambda seed: check_diffusion("absorb", "lambda", seed),
    ),
    "times at sigma_max alone": (
        "sedd_core.evaluation.estimators:_at_time",
        "level.rate * (end - start)",
        "level.rate * (1.3 * end - start)",
        lambda seed: check_diffusion("uniform", "stratified", seed),
    ),
    "nodes without half": (
        "sedd_core.evaluation.estimators:by_nodes",
        "(high - low) / 2 * weight",
        "(high - low) * weight",
        lambda seed: check_diffusion("uniform", "quadrature", seed),
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_found(PLANTS[name], seed, monkeypatch)
