"""The estimator of the likelihood bound against sums over everything, for a rough network."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from scipy.special import ndtri
from scipy.stats import t as student
from torch import Tensor

from sedd_core import load_model
from sedd_core.evaluation.bound import Bound, Terms, terms
from sedd_core.maths.draws import Draws
from sedd_core.maths.numerics import student_t
from sedd_core.model.score import ScoreModel
from sedd_core.stages import Batch, Noise
from tests.support.bounds import T_MIN, exact_absorb, exact_uniform
from tests.support.planted import Plant, check_found

GOLDEN = Path(__file__).parents[1] / "golden" / "models"


def estimated(model: ScoreModel, noise: Noise, x0: Tensor, seed: int, points: int) -> tuple[Tensor, Tensor]:
    """Mean and standard error of each term over many copies of one sequence."""
    copies = 4000 // points
    batch, draws = Batch(x0.expand(copies, -1)), Draws(seed, torch.arange(copies))
    parts = torch.stack(terms(model, noise, batch, draws, points=points, t_min=T_MIN))
    return parts.mean(-1), parts.std(-1) / math.sqrt(copies)


def check(value: Tensor, error: Tensor, truth: Tensor) -> None:
    """Within 4.5 standard errors (family-wise error under 1e-4), which are small enough to say something.

    Few of the sequences are noised at sigma_min; where none is, the error of the reconstruction term is not seen.
    """
    unseen = torch.tensor([1e-9, 5e-3, 1e-9], dtype=torch.float64)
    assert (value - truth).abs().le(4.5 * error + unseen).all(), f"{value} ± {error}, not {truth}"
    assert error.sum() < 0.15 * truth.sum()


CASES: list[tuple[str, Callable[[ScoreModel, Noise, Tensor], Tensor]]] = [
    ("absorb_scaled", exact_absorb),
    ("uniform", exact_uniform),
]


@pytest.mark.parametrize(("name", "exact"), CASES, ids=["absorb", "uniform"])
@pytest.mark.parametrize("points", [1, 8])
def test_terms_are_unbiased(name: str, exact: Callable[..., Tensor], points: int, seed: int) -> None:
    model, _, noise = load_model(GOLDEN / name)
    x0 = torch.tensor([3, 17])
    value, error = estimated(model, noise, x0, seed, points)
    truth = exact(model, noise, x0)
    check(value, error, truth)
    with pytest.raises(AssertionError):  # one term left out, or a factor
        check(value, error, truth * torch.tensor([1.5, 1.0, 1.0]))


@pytest.mark.parametrize("name", ["absorb_scaled", "uniform"])
def test_more_points_mean_less_variance(name: str, seed: int) -> None:
    model, _, noise = load_model(GOLDEN / name)
    x0 = torch.tensor([3, 17, 2, 2, 40, 9, 1, 30])
    (_, one), (_, eight) = (estimated(model, noise, x0, seed, points) for points in (1, 8))
    assert eight[0] < one[0]  # at equal numbers of network calls


def bound_of(nats: Tensor, tokens: Tensor) -> Bound:
    """With everything in the diffusion term, and half as many tokens as characters."""
    nothing = torch.zeros_like(nats)
    return Bound(Terms(nats, nothing, nothing), tokens, 2 * tokens)


def test_the_standard_error_is_that_of_a_ratio() -> None:
    """By hand: 3, 5, 10 nats on 1, 2, 3 tokens are 3 nats per token; residuals 0, -1, 1 have a deviation of 1."""
    result = bound_of(torch.tensor([3.0, 5.0, 10.0]).double(), torch.tensor([1, 2, 3]))
    assert result.per(result.tokens) == pytest.approx((3.0, 3**0.5 / 6))
    assert result.bits_per_character == pytest.approx((1.5 / math.log(2), 3**0.5 / 12 / math.log(2)))
    half = 4.302652729749464 * 3**0.5 / 6  # Student's t with two degrees of freedom
    assert result.interval(result.tokens) == pytest.approx((3 - half, 3 + half))
    one = bound_of(torch.tensor([3.0]).double(), torch.tensor([1]))
    assert one.per(one.tokens) == (3.0, math.inf)
    assert one.interval(one.tokens) == (-math.inf, math.inf)


@pytest.fixture(autouse=True)
def _student(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factor of intervals of the same number of sequences is computed once: thousands are made."""
    monkeypatch.setattr("sedd_core.evaluation.result.student_t", cache(student_t))


@pytest.mark.parametrize(("count", "two_errors"), [(2, 0.705), (4, 0.861), (8, 0.914), (16, 0.936), (64, 0.950)])
def test_the_interval_covers_as_it_says(count: int, two_errors: float, seed: int) -> None:
    """2,000 sets of normal sequences, at 4.5 standard errors: each errs in 1e-5.

    An interval of ± 2 standard errors covers as little as stated; the test finds it at up to 8 sequences (power .98
    there, above .9999 at fewer), and `test_students_t` at any number.
    """
    sets = ndtri(Draws(seed, torch.arange(2000)).uniform("nats", count).numpy())
    tokens = torch.full((count,), 7)
    intervals = [bound_of(21 + torch.from_numpy(nats), tokens).interval(tokens) for nats in sets]
    miss = 3 - torch.tensor(intervals).double().mean(-1)
    half = torch.tensor(intervals).double().diff()[:, 0] / 2
    for covered, truth in [
        (miss.abs() <= half, 0.95),
        (miss.abs() <= 2 * half / student_t(0.95, count - 1), two_errors),
    ]:
        assert abs(covered.double().mean().item() - truth) < 4.5 * (truth * (1 - truth) / 2000) ** 0.5


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_students_t(level: float) -> None:
    for freedom in [1, 2, 3, 4, 7, 8, 15, 63, 255, 1000]:
        assert student_t(level, freedom) == pytest.approx(student.ppf(0.5 + level / 2, freedom), rel=1e-10)


@pytest.mark.parametrize("name", ["absorb_scaled", "uniform"])
def test_what_does_not_count_is_given(name: str, seed: int) -> None:
    """The network sees it without noise, and it is in no term."""
    model, _, noise = load_model(GOLDEN / name)
    x0, draws = torch.tensor([[3, 17, 5, 8]]).expand(50, -1), Draws(seed, torch.arange(50))
    counts = torch.tensor([True, False, True, False]).expand(50, -1)
    seen: list[Tensor] = []
    hook = model.backbone.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    terms(model, noise, Batch(x0, counts), draws, points=2, t_min=T_MIN)
    hook.remove()
    assert seen
    for x in seen:
        assert torch.equal(x[~counts], x0[~counts])
    assert any((x[counts] != x0[counts]).any() for x in seen)
    assert not torch.stack(terms(model, noise, Batch(x0, counts & False), draws, points=2, t_min=T_MIN)).any()


PLANTS: dict[str, Plant] = {
    "standard error x 2": (
        "sedd_core.evaluation.result:Bound.per",
        "math.sqrt(len(values))",
        "2 * math.sqrt(len(values))",
        lambda seed: test_the_standard_error_is_that_of_a_ratio(),
    ),
    "standard error of nats alone": (
        "sedd_core.evaluation.result:Bound.per",
        "(values - ratio * units)",
        "values",
        lambda seed: test_the_standard_error_is_that_of_a_ratio(),
    ),
    "an interval of two standard errors": (
        "sedd_core.evaluation.result:Bound.interval",
        "student_t(level, len(units) - 1)",
        "2",
        lambda seed: test_the_standard_error_is_that_of_a_ratio(),
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_found(PLANTS[name], seed, monkeypatch)
