"""The bound given some tokens: with exact scores it is -log p of the others given them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.evaluation.bound import given_clean, terms
from sedd_core.evaluation.estimators import Method
from sedd_core.maths.draws import Draws
from sedd_core.stages import Batch
from sedd_core.testing import random_joint
from sedd_core.testing.empirical import exact_pair_score
from tests.support.bounds import gauss_legendre
from tests.support.exact import ExactNetwork
from tests.support.oracles import oracle
from tests.support.planted import Plant, check_found

ORDERS = torch.tensor(list(permutations(range(3))))


@dataclass(frozen=True)
class AllOrders(Draws):
    """Places in every order, in turn: with as many points as unknown positions, every set of masks is equally likely."""

    def uniform(self, stream: str, *shape: int) -> Tensor:
        if stream != "places":
            return super().uniform(stream, *shape)
        return ((ORDERS.double() + 0.5) / 3).repeat(len(self.indices) // len(ORDERS), 1)


def check_absorb(unknown: tuple[int, ...], seed: int) -> None:
    truth = oracle("absorb", seed, vocab=3)
    model = ExactNetwork(truth.graph, truth.score_fn())
    x0 = truth.clean.repeat_interleave(len(ORDERS), 0)
    loss_mask = torch.zeros_like(x0, dtype=torch.bool)
    loss_mask[:, list(unknown)] = True
    draws = AllOrders(seed, torch.arange(len(x0)))
    parts = terms(model, truth.noise, Batch(x0, loss_mask), draws, points=len(unknown), t_min=1e-3)
    bound = torch.stack(parts).sum(0).view(-1, len(ORDERS)).mean(-1)
    given = truth.p0.view(3, 3, 3).sum(unknown, keepdim=True).expand(3, 3, 3).flatten()
    torch.testing.assert_close(bound, -(truth.p0 / given).log(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("unknown", [(0,), (1, 2), (0, 2), (0, 1, 2)])
def test_absorb_is_exact_over_all_masks(unknown: tuple[int, ...], seed: int) -> None:
    """All sets of masks, all sequences of 3 tokens: to 1e-9. k ~ U{1..|U|}, weight |U| / k."""
    check_absorb(unknown, seed)


def test_without_unknown_tokens_there_is_nothing_to_pay() -> None:
    truth = oracle("absorb", 3, vocab=3)
    model, x0 = ExactNetwork(truth.graph, truth.score_fn()), truth.clean
    parts = terms(model, truth.noise, Batch(x0, x0 < 0), Draws(0, torch.arange(len(x0))), points=2, t_min=1e-3)
    assert not torch.stack(parts).any()


def check_uniform(seed: int) -> None:
    """Pairs whose first token is given: the sum over all states to 1e-5, and the estimate within 4.5 errors of it."""
    graph, noise = plugin("graph_uniform")(vocab_size=4), plugin("noise_geometric")(sigma_min=1e-4, sigma_max=20.0)
    joint = random_joint(4, 2, seed)
    model, method = ExactNetwork(graph, exact_pair_score(graph, joint)), Method(given_noise="none")
    truth = -(joint[2, 1] / joint[2].sum()).log().item()
    x = torch.stack([torch.full((4,), 2), torch.arange(4)], -1)
    x0, loss_mask = torch.tensor([[2, 1]]).expand(4, -1), torch.tensor([[False, True]]).expand(4, -1)
    total = 0.0
    for log_sigma, weight in gauss_legendre(60, math.log(1e-4), math.log(20.0)):
        level = noise.at_sigma(torch.full((4,), math.exp(log_sigma), dtype=torch.float64))
        entropy = model.score_entropy(x, x0, given_clean(level, x0, loss_mask, method), loss_mask)
        law = graph.transition(torch.tensor(1), level.pick(0))
        total += weight * math.exp(log_sigma) * (law * entropy).sum().item()
    low = noise(torch.tensor([1e-12], dtype=torch.float64))
    law = graph.transition(torch.tensor([1]), low)[0]
    probs = joint[2] / joint[2].sum()
    joined = probs[:, None] * graph.transition(torch.arange(4), low.pick(0))
    reconstruction = -(law * (joined[1] / joined.sum(0)).log()).sum().item()
    assert total + reconstruction == pytest.approx(truth, abs=1e-5)
    copies = 6000
    batch = Batch(x0[:1].expand(copies, -1), loss_mask[:1].expand(copies, -1))
    settings = {"points": 8, "t_min": 1e-12}
    draws = Draws(seed, torch.arange(copies))
    values = torch.stack(terms(model, noise, batch, draws, method=method, **settings)).sum(0)
    error = values.std().item() / copies**0.5
    assert abs(values.mean().item() - truth) < 4.5 * error
    assert error < 0.03


def test_uniform_with_noise_0_at_given_tokens(seed: int) -> None:
    check_uniform(seed)


PLANTS: dict[str, Plant] = {
    "masks counted among all positions": (
        "sedd_core.evaluation.estimators:by_mask_count",
        "integral.unknown.sum(-1).clamp(min=1)",
        "(integral.unknown | True).sum(-1)",
        lambda seed: check_absorb((1, 2), seed),
    ),
    "given tokens masked": (
        "sedd_core.evaluation.estimators:by_mask_count",
        ".masked_fill(~integral.unknown, 1.0)",
        "",
        lambda seed: check_absorb((0,), seed),
    ),
    "given tokens shown at their neighbors' noise": (
        "sedd_core.evaluation.bound:given_clean",
        'method.given_noise == "same"',
        "True",
        check_uniform,
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_found(PLANTS[name], seed, monkeypatch)
