"""Block diffusion of the network: one block is the plain network, blocks of one token are an autoregressive model."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import model_ddit
import pytest
import torch
from model_ddit import DDiT
from torch import Tensor, nn

from sedd_core import UserError, plugin
from sedd_core.maths import Draws
from sedd_core.model import ScoreModel
from sedd_core.sampling.sample import sample
from sedd_core.stages import Batch, NoiseLevel
from sedd_core.testing import check_model
from tests.support.families import level_at

SIZES = {"num_states": 4, "hidden_size": 16, "n_blocks": 2, "n_heads": 2, "cond_dim": 8, "dropout": 0.0}
GRAPH, NOISE = plugin("graph_absorb")(vocab_size=3), plugin("noise_loglinear")()
ALL = torch.tensor(list(product(range(3), repeat=3)))
"""All sequences of three of three tokens."""


def network(block_size: int, reads: str = "nothing") -> DDiT:
    torch.manual_seed(0)
    net = DDiT(**SIZES, reads=reads, block_size=block_size)  # pyright: ignore
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.4)
    return net.eval()


def model(block_size: int, reads: str = "nothing") -> ScoreModel:
    return ScoreModel(network(block_size, reads), GRAPH, plugin("head_mean")())


def level(sigma: float, count: int) -> NoiseLevel:
    return NoiseLevel.of_sigma(torch.full((count,), sigma))


@torch.no_grad()
def chain_rule(one: ScoreModel) -> Tensor:
    """log p [27] of all sequences by a model with blocks of one token: the sum of log p(token | tokens before it)."""
    total = torch.zeros(len(ALL), dtype=torch.float64)
    for position in range(3):
        masked = (torch.arange(3) == position).expand_as(ALL)
        # one masked position at sigma: its score entropy is -log p(token) / expm1(sigma)
        entropy = one.score_entropy(torch.where(masked, 3, ALL), ALL, level(0.7, len(ALL)), masked)
        total -= entropy * torch.expm1(torch.tensor(0.7)).double()
    return total


@pytest.mark.parametrize("reads", ["nothing", "sigma"])
def test_conformance(reads: str) -> None:
    check_model(
        partial(DDiT, hidden_size=16, n_blocks=2, n_heads=2, cond_dim=8, dropout=0.0, reads=reads, block_size=2)
    )


@pytest.mark.parametrize(
    ("name", "fault", "message"),
    [
        ("mask_beside_clean", lambda length, size, device: torch.ones(1, 1, 2 * length, 2 * length).bool(), "on clean"),
        ("mask_after_past", lambda length, past, size, *, clean, device: (torch.arange(past + length) >= past).expand(1, 1, length, -1), "was remembered"),
    ],
)  # fmt: skip
def test_the_kit_finds_a_wrong_mask(name: str, fault: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_ddit, name, fault)
    with pytest.raises(AssertionError, match=message):
        check_model(partial(DDiT, hidden_size=16, n_blocks=2, n_heads=2, cond_dim=8, dropout=0.0, block_size=2))


def test_one_block_is_the_plain_network() -> None:
    x, x0 = torch.tensor([[0, 3, 3, 1]]), torch.tensor([[0, 2, 1, 1]])
    with torch.no_grad():
        plain = network(0)(x, level_at(torch.ones(1), torch.ones(1)))
        assert torch.equal(network(4)(x, level_at(torch.ones(1), torch.ones(1)), clean=x0), plain)


def test_blocks_of_one_token_are_an_autoregressive_model() -> None:
    """Its likelihoods sum to one, which no bound's would unless it is exact."""
    assert chain_rule(model(1)).exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_the_bound_of_blocks_of_one_token_is_the_likelihood() -> None:
    """All points of the bound, averaged, are within 4 standard errors of it for each of the 27 sequences."""
    from sedd_core.evaluation import terms

    one = model(1)
    draws = Draws(3, torch.arange(len(ALL) * 64))
    bound = terms(one, NOISE, Batch(ALL.repeat_interleave(64, 0)), draws, points=9, t_min=1e-5)
    nats = (bound.diffusion + bound.reconstruction + bound.prior).view(-1, 64)
    error = nats.std(-1) / 8
    assert ((nats.mean(-1) + chain_rule(one)).abs() < 4 * error + 1e-4).all()


@pytest.mark.parametrize("reads", ["nothing", "sigma"])
def test_samples_of_blocks_of_one_token_follow_the_chain_rule(reads: str) -> None:
    """Whatever the number of steps, as one token is drawn at a time; 27 outcomes, 4000 samples."""
    one = model(1, reads)
    if reads == "sigma":  # the level at which it is asked is that of the step, so the law is not the one above
        one.backbone.get_submodule("sigma_map").register_forward_pre_hook(lambda _, value: (value[0] * 0,))
    x = sample(
        one, NOISE, plugin("sampler_analytic")(),
        count=4000, length=3, steps=1, t_min=1e-5, seed=0, batch_size=1000,
    )  # fmt: skip
    observed = torch.zeros(27).index_add(0, (x * torch.tensor([9, 3, 1])).sum(-1), torch.ones(4000)).double()
    expected = chain_rule(one).exp() * 4000
    enough = expected >= 5
    assert ((observed - expected) ** 2 / expected)[enough].sum() < enough.sum() + 4 * (2 * enough.sum()) ** 0.5


def test_known_tokens_stay_and_every_state_is_shown() -> None:
    from sedd_core.stages import FixedTokens

    states, tokens = list[Tensor](), torch.tensor([[2, 0, 0, 1, 0]]).expand(6, 5)
    known = FixedTokens(tokens, torch.tensor([[True, False, False, True, False]]).expand(6, 5))
    x = sample(
        model(2), NOISE, plugin("sampler_euler")(), count=6, length=5, steps=3, t_min=1e-5, seed=0, batch_size=6,
        fixed_tokens=known, on_step=states.append,
    )  # fmt: skip
    assert len(states) == 3 * 5  # blocks of 2, 2 and 1 tokens, steps + 2 states of each
    assert all(torch.equal(state[:, [0, 3]], tokens[:, [0, 3]]) for state in states)
    assert torch.equal(states[-1], x)
    assert (states[4][:, [2, 4]] == 3).all()  # later blocks wait, but for what is known
    assert (x != 3).all()


@pytest.mark.parametrize("graph", ["uniform", "hybrid"])
def test_other_processes_are_refused(graph: str) -> None:
    other = plugin(f"graph_{graph}")(vocab_size=4 if graph == "uniform" else 3)
    with pytest.raises(UserError, match=r"model.block_size needs a graph that only masks: set graph=absorb"):
        ScoreModel(network(2), other, plugin("head_mean")())


def test_documents_are_refused() -> None:
    x = torch.zeros(1, 4, dtype=torch.int64)
    with pytest.raises(UserError, match=r"set data\.documents=joined"):
        network(2)(x, level_at(torch.ones(1), torch.ones(1)), None, x)
