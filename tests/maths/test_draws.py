"""Addressed uniforms and exact categorical draws. Statistical tests are at 1e-5 each."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import chi2, kstest

from sedd_core.maths.categorical import categorical
from sedd_core.maths.draws import Draws, permutation

FEW = 1e-5


def test_a_draw_depends_on_its_address_alone(seed: int) -> None:
    whole = Draws(seed, torch.arange(12), 5).uniform("x", 7, 3)
    parts = [Draws(seed, part, 5).uniform("x", 7, 3) for part in torch.arange(12).split(5)]
    assert torch.equal(whole, torch.cat(parts))
    order = torch.tensor([3, 0, 11])
    assert torch.equal(whole[order], Draws(seed, order).at(5).uniform("x", 7, 3))
    assert torch.equal(whole.flatten(1)[:, :4], Draws(seed, torch.arange(12), 5).uniform("x", 4))


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"stream": "y"}, {"step": 1}, {"first": 1000}], ids=lambda change: next(iter(change))
)
def test_other_addresses_are_independent(change: dict, seed: int) -> None:
    def drawn(seed: int = seed, stream: str = "x", step: int = 0, first: int = 0) -> torch.Tensor:
        return Draws(seed, torch.arange(first, first + 300), step).uniform(stream, 300).flatten()

    one, other = drawn(), drawn(**change)
    correlation = torch.corrcoef(torch.stack([one, other]))[0, 1].item()
    assert abs(correlation) * math.sqrt(len(one)) < 4.5
    joint = torch.histogramdd(torch.stack([one, other], -1), [10, 10], range=[0.0, 1.0, 0.0, 1.0]).hist
    assert chi2.sf(((joint - 900) ** 2 / 900).sum().item(), 99) > FEW


def test_a_part_of_a_step_has_independent_draws_of_its_own(seed: int) -> None:
    whole = Draws(seed, torch.arange(300), 4)
    drawn = [d.uniform("x", 300) for d in (whole, whole.part("a"), whole.part("b"), whole.part("a").part("b"))]
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()) * 300 < 4.5
    assert torch.equal(whole.part("a").uniform("x", 300), drawn[1])
    assert torch.equal(whole.at(0).part("a").at(4).uniform("x", 300), drawn[1])
    assert torch.equal(Draws(seed, torch.tensor([7]), 4).part("a").uniform("x", 300), drawn[1][[7]])


def test_draws_are_uniform_and_open(seed: int) -> None:
    drawn = Draws(seed, torch.arange(1000)).uniform("x", 200)
    assert kstest(drawn.flatten().numpy(), "uniform").pvalue > FEW
    for axis in (0, 1):  # neighbors along both axes are independent
        pair = torch.stack([drawn.narrow(axis, 0, 199).flatten(), drawn.narrow(axis, 1, 199).flatten()])
        assert abs(torch.corrcoef(pair)[0, 1].item()) * math.sqrt(pair.shape[1]) < 4.5
    assert drawn.min() > 0
    assert drawn.max() < 1
    assert drawn.dtype == torch.float64
    assert (drawn * 2**53 % 2 == 1).all()  # 52 bits and a half: the ends cannot be reached


def test_a_permutation_is_one(seed: int) -> None:
    order = permutation(1000, seed, "x")
    assert order.sort().values.tolist() == list(range(1000))
    assert order.tolist() != permutation(1000, seed, "y").tolist()


def law_by_inversion(weights: torch.Tensor, count: int) -> torch.Tensor:
    """What equally spaced uniforms are sent to: the law itself, to within a count."""
    uniform = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    drawn = categorical(weights.expand(count, -1), uniform)
    return torch.bincount(drawn, minlength=weights.shape[-1]) / count


@pytest.mark.parametrize("states", [1, 2, 255, 256, 257, 1000])
def test_the_law_is_the_weights(states: int) -> None:
    weights = torch.rand(states, generator=torch.Generator().manual_seed(0)) ** 4
    weights[::3] *= 0.0 if states > 3 else 1.0
    drawn = law_by_inversion(weights, 20_000)
    torch.testing.assert_close(drawn.double(), weights.double() / weights.double().sum(), atol=1.01e-4, rtol=0)
    assert not drawn[weights == 0].any()


def interval(weights: torch.Tensor, state: int) -> float:
    """The length of the interval of uniforms that are sent to a state, by bisection of both its ends."""

    def first(inside: int) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            drawn = categorical(weights[None], torch.tensor([middle], dtype=torch.float64)).item()
            low, high = (low, middle) if drawn >= inside else (middle, high)
        return high

    return first(state + 1) - first(state)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_rare_tokens_have_their_probability(kind: torch.dtype) -> None:
    """A Zipf law over 50257 float32 weights, and tokens of probability 1e-7, 1e-8, 1e-9 among them."""
    weights = 1 / (torch.arange(50257, dtype=torch.float64) + 1)
    weights = weights / weights.sum()
    for place, rare in [(40_000, 1e-7), (40_100, 1e-8), (50_000, 1e-9)]:
        weights[place] = rare
    law = weights.to(kind)
    total = law.double().sum().item()
    for place in (40_000, 40_100, 50_000, 0, 50_256):
        assert interval(law, place) == pytest.approx(law[place].item() / total, rel=1e-5)


def test_a_float32_sum_would_fail_the_same_test() -> None:
    weights = 1 / (torch.arange(50257) + 1.0)
    weights = weights / weights.sum()
    weights[50_000] = 1e-9
    cumulated = weights.cumsum(0)
    assert (cumulated[50_000] - cumulated[49_999]).item() != pytest.approx(1e-9, rel=1e-2)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_boundaries_never_draw_a_weightless_state(kind: torch.dtype) -> None:
    """Uniforms at the ends of every state's interval and some ulps beside, where blocks begin and end weightless."""
    weights = torch.rand(1000, generator=torch.Generator().manual_seed(1)).to(kind)
    places = torch.arange(1000)
    weights[(places % 256 < 3) | (places % 256 > 250) | (places % 7 == 0) | (places > 990)] = 0.0
    ends = weights.double().cumsum(0) / weights.double().sum()
    uniform = torch.cat([ends + ulps * 2.0**-53 for ulps in range(-4, 5)]).clamp(2.0**-53, 1 - 2.0**-53)
    drawn = categorical(weights.expand(len(uniform), -1), uniform)
    assert (weights[drawn] > 0).all()
    near = (ends[drawn] - weights[drawn].double() / weights.double().sum() <= uniform + 1e-14) & (
        uniform <= ends[drawn] + 1e-14
    )
    assert near.all()


def test_no_rows_give_no_draws() -> None:
    assert categorical(torch.empty(0, 300), torch.empty(0, dtype=torch.float64)).shape == (0,)


def test_shapes_are_checked_while_testing() -> None:
    """The import hook is on: a wrong shape or type is an error here, and free in use."""
    with pytest.raises(Exception, match="uniform"):
        categorical(torch.ones(2, 3), torch.ones(3, dtype=torch.float64))
    with pytest.raises(Exception, match="uniform"):
        categorical(torch.ones(2, 3), torch.ones(2))
