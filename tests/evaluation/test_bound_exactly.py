"""The likelihood bound where its estimate has no variance, or what it draws can be looked at: faults of 0.1 % are found."""

from __future__ import annotations

import math

import pytest
import torch
from head_score import ScoreHead
from objective_score_entropy import ScoreEntropy
from scipy.stats import beta, kstest
from torch import Tensor, nn

from sedd_core import plugin
from sedd_core.evaluation.bound import terms
from sedd_core.maths.draws import Draws
from sedd_core.model.score import ScoreModel
from sedd_core.stages import Backbone, Batch, NoiseLevel
from tests.support.bounds import exact_uniform
from tests.support.graphs import chi_square
from tests.support.lattice import COUNT, Lattice
from tests.support.planted import Plant, check_found

PROBABILITIES = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05], dtype=torch.float64)
NOISE = plugin("noise_geometric")(sigma_min=0.1, sigma_max=2.0)
"""Ends that are often passed by absorb's noise levels, so that no term of its bound is small."""


class Known(Backbone):
    """The same logits everywhere; it keeps what it is shown."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(1, len(logits), dtype=torch.float64)
        nn.init.zeros_(self.linear.weight)
        self.linear.bias.data = logits
        self.seen: list[tuple[Tensor, Tensor]] = []

    @property
    def head(self) -> nn.Linear:
        return self.linear

    def forward(self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None) -> Tensor:
        self.seen.append((x, level.sigma))
        return torch.zeros(*x.shape, 1, dtype=torch.float64)


def absorb() -> ScoreModel:
    """The exact scores of independent tokens of these probabilities: p / expm1(sigma) at a mask."""
    logits = torch.cat([PROBABILITIES.log() + math.log(5), torch.zeros(1).double()])
    return ScoreModel(Known(logits), plugin("graph_absorb")(vocab_size=5), ScoreHead(scale_by_sigma=True))


def uniform() -> ScoreModel:
    """Scores that fit nothing."""
    return ScoreModel(
        Known(PROBABILITIES.log()), plugin("graph_uniform")(vocab_size=5), ScoreHead(scale_by_sigma=False)
    )


MODELS = {"absorb": absorb, "uniform": uniform}


def seen(model: ScoreModel) -> list[tuple[Tensor, Tensor]]:
    assert isinstance(model.backbone, Known)
    return model.backbone.seen


@pytest.mark.parametrize("points", [1, 4])
def test_absorb_with_independent_tokens_is_exact_in_every_draw(points: int, seed: int) -> None:
    """Of one token over and over each draw is -log p, at any number of masks and any noise, beyond the ends too."""
    x0 = torch.arange(5).repeat(40)[:, None].expand(-1, 7)
    parts = terms(absorb(), NOISE, Batch(x0), Draws(seed, torch.arange(200)), points=points, t_min=1e-3)
    assert all(part.max() > 0 for part in parts)
    torch.testing.assert_close(sum(parts), -PROBABILITIES[x0].log().sum(-1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("t", [0.001, 0.3, 1.0])
def test_the_training_loss_is_no_bound(t: float) -> None:
    """Its mean over the masks is .999 of -log p at every time: the bound's ends are not in it (docs/training.md)."""
    model, x0 = absorb(), torch.arange(5)[:, None]
    level = plugin("noise_loglinear")()(torch.full((5,), t))
    masked = -torch.expm1(-level.sigma)  # without a mask there is no loss
    weighted = level._replace(rate=level.rate * masked)
    losses = ScoreEntropy().integrand(model, torch.full_like(x0, 5), weighted, Batch(x0))
    torch.testing.assert_close(losses, -0.999 * PROBABILITIES.log(), rtol=1e-6, atol=0)


def test_every_term_of_a_token_under_uniform() -> None:
    """To 2e-4 of an integral over noise levels and a sum over states: no draw is left to chance."""
    model, x0 = uniform(), torch.tensor([1])
    parts = terms(model, NOISE, Batch(x0.expand(COUNT, -1)), Lattice(centered=("level",)), points=48, t_min=1e-3)
    torch.testing.assert_close(torch.stack(parts).mean(-1), exact_uniform(model, NOISE, x0), rtol=2e-4, atol=0)


@pytest.mark.parametrize("name", MODELS)
def test_padding_is_in_no_term(name: str, seed: int) -> None:
    """What counts and what does not add up to the whole, term by term, in the same draws.

    Of absorb the number of masks is drawn among the positions that count: there each draw is their -log p.
    """
    x0, draws = torch.tensor([[3, 1, 0, 4]]).expand(50, -1), Draws(seed, torch.arange(50))
    counts = torch.tensor([True, False, True, False]).expand(50, -1)
    batches = Batch(x0, counts), Batch(x0, ~counts), Batch(x0)
    some, rest, whole = (terms(MODELS[name](), NOISE, b, draws, points=2, t_min=1e-3) for b in batches)
    if name == "absorb":
        same = Batch(torch.full_like(x0, 3), counts)
        parts = terms(absorb(), NOISE, same, draws, points=2, t_min=1e-3)
        torch.testing.assert_close(sum(parts), (-2 * PROBABILITIES[3].log()).expand(50), rtol=1e-6, atol=0)
        return
    for part, other, both in zip(some, rest, whole, strict=True):
        assert part.sum() > 0
        torch.testing.assert_close(part + other, both, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_the_network_sees_no_noise_beyond_the_ends(name: str, seed: int) -> None:
    """It was trained on none; of absorb's levels some lie below and some above, and are held there."""
    model, x0 = MODELS[name](), torch.zeros(200, 3, dtype=torch.int64)
    terms(model, NOISE, Batch(x0), Draws(seed, torch.arange(200)), points=4, t_min=1e-3)
    low, high = NOISE(torch.tensor([1e-3, 1.0])).sigma.float()
    sigmas = torch.cat([sigma for _, sigma in seen(model)])
    assert sigmas.min() >= low
    assert sigmas.max() <= high
    if name == "absorb":
        assert {low.item(), high.item()} < set(sigmas.tolist())


def test_log_sigma_is_uniform_in_each_stratum(seed: int) -> None:
    """Kolmogorov-Smirnov at 1e-5; levels at the middles, or at any one place, are found with certainty."""
    model, x0 = uniform(), torch.zeros(2000, 1, dtype=torch.int64)
    terms(model, NOISE, Batch(x0), Draws(seed, torch.arange(2000)), points=3, t_min=1e-3)
    low, high = NOISE(torch.tensor([1e-3, 1.0])).sigma.log().tolist()
    levels = torch.stack([sigma.double().log() for _, sigma in seen(model)[:3]])  # the last call is the denoising
    places = (levels - low) / (high - low) * 3 - torch.arange(3)[:, None]
    for place in places:
        assert kstest(place.numpy(), "uniform").pvalue > 1e-5


def test_masks_and_their_noise_follow_their_laws(seed: int) -> None:
    """Of 8 positions 1 to 4 are masked in the first of two strata, 5 to 8 in the second; 1 - exp(-sigma) is Beta.

    Chi-square and Kolmogorov-Smirnov at 1e-5 each. The schedule's ends are so far out that nothing is held there.
    """
    model, x0 = absorb(), torch.zeros(4000, 8, dtype=torch.int64)
    wide = plugin("noise_geometric")(sigma_min=1e-9, sigma_max=30.0)
    terms(model, wide, Batch(x0), Draws(seed, torch.arange(4000)), points=2, t_min=1e-9)
    for index, (x, sigma) in enumerate(seen(model)):
        count = (x == 5).sum(-1)
        assert chi_square(count - 1 - 4 * index, torch.full((4,), 0.25)) > 1e-5
        level = beta(count.numpy(), 9 - count.numpy()).cdf(-torch.expm1(-sigma.double()).numpy())
        assert kstest(level, "uniform").pvalue > 1e-5


def padding(seed: int) -> None:
    """The test of padding, on both processes."""
    for name in MODELS:
        test_padding_is_in_no_term(name, seed)


PLANTS: dict[str, Plant] = {
    "padding in the prior term": (
        "sedd_core.evaluation.bound:prior_term",
        ".where(loss_mask[finite], 0.0)",
        "",
        padding,
    ),
    "padding in the reconstruction term": (
        "sedd_core.evaluation.integrand:log_denoised",
        ".where(loss_mask, 0.0)",
        "",
        padding,
    ),
    "padding in the diffusion term": (
        "sedd_core.evaluation.bound:terms",
        "graph.reachable(x, point.level) & scored",
        "graph.reachable(x, point.level)",
        padding,
    ),
    "absorb's bound x 1.002": (
        "sedd_core.evaluation.estimators:by_mask_count",
        "weight = length",
        "weight = 1.002 * length",
        lambda seed: test_absorb_with_independent_tokens_is_exact_in_every_draw(1, seed),
    ),
    "others' bound x 1.002": (
        "sedd_core.evaluation.estimators:by_noise",
        "sigma * (high - low)",
        "1.002 * sigma * (high - low)",
        lambda seed: test_every_term_of_a_token_under_uniform(),
    ),
    "strata of masks without jitter": (
        "sedd_core.evaluation.estimators:by_mask_count",
        "(index + uniform)",
        "(index + 0.5 + 0 * uniform)",
        lambda seed: test_masks_and_their_noise_follow_their_laws(seed),
    ),
    "strata of log sigma without jitter": (
        "sedd_core.evaluation.estimators:by_noise",
        "(index + integral.uniform(index))",
        "(index + 0.5 + 0 * integral.uniform(index))",
        test_log_sigma_is_uniform_in_each_stratum,
    ),
    "no clamp at sigma_max": (
        "sedd_core.evaluation.estimators:by_mask_count",
        "sigma.clamp(low, high)",
        "sigma.clamp(min=low)",
        lambda seed: test_the_network_sees_no_noise_beyond_the_ends("absorb", seed),
    ),
    "no clamp at sigma_min": (
        "sedd_core.evaluation.estimators:by_mask_count",
        "sigma.clamp(low, high)",
        "sigma.clamp(max=high)",
        lambda seed: test_the_network_sees_no_noise_beyond_the_ends("absorb", seed),
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_found(PLANTS[name], seed, monkeypatch)
