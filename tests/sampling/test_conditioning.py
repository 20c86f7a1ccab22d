"""Given tokens: kept exactly, and the law of the rest against the exact conditional law."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from sedd_core import plugin
from sedd_core.maths.draws import Draws
from sedd_core.sampling.conditioning import FixedTokenNoise, clamping_floor, condition_on
from sedd_core.sampling.grid import time_grid
from sedd_core.sampling.sample import sample
from sedd_core.stages import FixedTokens, Graph, NoiseLevel
from sedd_core.testing import total_variation
from tests.support.graphs import GRAPHS, random_pi
from tests.support.networks import network, noise_for
from tests.support.oracles import PAIRS, SAMPLERS, oracle

SUBSETS = [where for where in itertools.product([False, True], repeat=3) if any(where)]
SOME_FREE = [where for where in SUBSETS if sum(where) == 1]
ONE_FREE = [where for where in SUBSETS if sum(where) == 2]


def errors(
    graph: str, sampler: str, where: tuple[bool, ...], fixed_token_noise: FixedTokenNoise, steps: list[int]
) -> list[float]:
    """Total variation from the exact conditional law after so many steps."""
    exact = oracle(graph, 0)
    given = FixedTokens(torch.tensor([[1, 2, 3]]), torch.tensor([where]))
    return [
        total_variation(
            exact.sampled(plugin(f"sampler_{sampler}")(), n, fixed_tokens=given, fixed_token_noise=fixed_token_noise),
            exact.conditional(given),
        )
        for n in steps
    ]


@pytest.mark.parametrize("where", SUBSETS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_absorb_tends_to_the_conditional_law_whatever_is_given(sampler: str, where: tuple[bool, ...]) -> None:
    """At first order where two or more positions are free; exactly, in any number of steps, otherwise."""
    error = errors("absorb", sampler, where, "same", [2, 32, 64])
    if sum(where) >= 2:
        assert max(error) < 1e-12
    else:
        assert abs(math.log2(error[1] / error[2]) - 1) < 0.1
        assert error[2] < 0.01


@pytest.mark.slow
def test_absorb_conditioned_in_longer_sequences() -> None:
    exact, sampler = oracle("absorb", 1, vocab=3, length=4), plugin("sampler_analytic")()
    for where in itertools.product([False, True], repeat=4):
        given = FixedTokens(torch.tensor([[2, 0, 1, 1]]), torch.tensor([where]))
        error = [
            total_variation(exact.sampled(sampler, n, fixed_tokens=given), exact.conditional(given)) for n in (16, 32)
        ]
        if sum(where) >= 3:
            assert max(error) < 1e-12
        else:
            assert abs(math.log2(error[0] / error[1]) - 1) < 0.1


@pytest.mark.parametrize("where", SOME_FREE + ONE_FREE)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_uniform_tends_to_it_when_given_tokens_have_no_noise(sampler: str, where: tuple[bool, ...]) -> None:
    error = errors("uniform", sampler, where, "none", [32, 64])
    if sampler == "analytic" and sum(where) == 2:
        assert max(error) < 1e-12  # one position by its exact posterior
    else:
        assert abs(math.log2(error[0] / error[1]) - 1) < 0.1
        assert error[1] < 0.02


@pytest.mark.parametrize("where", SOME_FREE)
def test_uniform_clamped_has_a_floor(where: tuple[bool, ...]) -> None:
    """The figures of docs/mathematics.md: with the noise of the whole sequence, more steps gain nothing."""
    error = errors("uniform", "analytic", where, "same", [64, 128])
    assert error[1] > 0.05
    assert abs(error[1] / error[0] - 1) < 0.1


def test_which_graphs_clamp_with_a_floor() -> None:
    assert clamping_floor(plugin("graph_absorb")(vocab_size=5)) is None
    for graph in (plugin("graph_uniform")(vocab_size=5), random_pi(1, mask=True), GRAPHS["ring"]()):
        assert "conditional distribution" in str(clamping_floor(graph))


EVERY_GRAPH: dict[str, Callable[[], Graph]] = {
    "absorb": lambda: plugin("graph_absorb")(vocab_size=5),
    "uniform": lambda: plugin("graph_uniform")(vocab_size=5),
    "mixture": lambda: random_pi(1, mask=True),
    "ring": GRAPHS["ring"],
}


@settings(max_examples=10)
@pytest.mark.parametrize("fixed_token_noise", ["same", "none"])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("graph", EVERY_GRAPH)
@examples(data=st.data())
def test_given_tokens_survive_in_every_state(
    graph: str, sampler: str, fixed_token_noise: FixedTokenNoise, data: st.DataObject
) -> None:
    """Of a network that says anything, few steps, any prompt, any temperature; and on_step sees every state."""
    model = network(EVERY_GRAPH[graph](), data.draw(st.integers(0, 99)))
    tokens = torch.tensor(
        data.draw(st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=3, max_size=3))
    )
    where = torch.tensor(data.draw(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=3, max_size=3)))
    seen: list[Tensor] = []
    out = sample(
        model,
        noise_for(graph),
        plugin(f"sampler_{sampler}")(temperature=data.draw(st.sampled_from([0.5, 1.0, 2.0])), top_p=0.9),
        count=3,
        length=6,
        steps=2,
        t_min=0.1,
        seed=data.draw(st.integers(0, 99)),
        batch_size=3,
        grid=data.draw(st.sampled_from(["uniform", "cosine", "equal"])),
        fixed_tokens=FixedTokens(tokens, where),
        fixed_token_noise=fixed_token_noise,
        on_step=seen.append,
    )
    assert len(seen) == 4
    assert torch.equal(seen[-1], out)
    for state in seen:
        assert torch.equal(state[where], tokens[where])
    assert (out < 5).all()


@pytest.mark.parametrize("fixed_token_noise", ["same", "none"])
@pytest.mark.parametrize("graph", PAIRS)
def test_batches_change_nothing(graph: str, fixed_token_noise: FixedTokenNoise, seed: int) -> None:
    """The i-th sample is a function of (seed, i), with and without given tokens."""
    model, sampler = network(plugin(f"graph_{graph}")(vocab_size=5), seed), plugin("sampler_analytic")(top_p=0.9)
    generator = torch.Generator().manual_seed(seed)
    given = FixedTokens(torch.randint(5, (7, 10), generator=generator), torch.rand(7, 10, generator=generator) < 0.5)
    for known in (None, given):
        drawn = [
            sample(
                model, noise_for(graph), sampler, count=7, length=10, steps=8, t_min=1e-3, seed=seed,
                batch_size=size, fixed_tokens=known, fixed_token_noise=fixed_token_noise,
            )
            for size in (1, 3, 7)
        ]  # fmt: skip
        assert torch.equal(drawn[0], drawn[2])
        assert torch.equal(drawn[1], drawn[2])


def test_the_network_is_told_and_asked_what_it_should_be(seed: int) -> None:
    """Of noise 0 at given positions where that is wanted, and only for scores of free positions."""
    graph = plugin("graph_uniform")(vocab_size=5)
    model = network(graph, seed)
    told: list[NoiseLevel] = []
    asked: list[int] = []
    model.backbone.register_forward_hook(lambda module, inputs, output: told.append(inputs[1]))
    model.backbone.head.register_forward_hook(lambda module, inputs, output: asked.append(len(output)))
    where = torch.tensor([[True, False, True, False]])
    for fixed_token_noise, steps in (("same", 2), ("none", 2)):
        sample(
            model, noise_for("uniform"), plugin("sampler_euler")(), count=1, length=4, steps=steps, t_min=0.1,
            seed=0, batch_size=1, fixed_tokens=FixedTokens(torch.ones_like(where).long(), where), fixed_token_noise=fixed_token_noise,
        )  # fmt: skip
    assert [level.sigma.ndim for level in told] == [1, 1, 1, 2, 2, 2]
    for level in told[3:]:
        for part in (level.sigma, level.t):
            assert (part[where] == 0).all()
            assert (part[~where] > 0).all()
    assert asked == [2] * 6


def test_given_tokens_have_no_other_state(seed: int) -> None:
    """So a step cannot move them, and they are not among the rows whose clipping is counted."""
    exact, sampler = oracle("uniform", 0), plugin("sampler_euler")()
    given = FixedTokens(torch.tensor([[1, 2, 3]]).expand(4, -1), torch.tensor([[True, False, True]]).expand(4, -1))
    draws = Draws(seed, torch.arange(4))
    x, score_fn = given.apply(exact.graph.prior(draws, 3)), condition_on(exact.score_fn(), given)
    level = exact.noise(torch.full((4,), 0.5).double())
    whole = score_fn(x, level)
    assert torch.equal(whole[given.positions].exp(), torch.nn.functional.one_hot(x, 4)[given.positions].double())
    assert torch.equal(whole[:, 1], exact.score_fn()(x, level)[:, 1])
    for t, t_next in itertools.pairwise(time_grid(4, 0.1).tolist()):
        levels = (exact.noise(torch.full((4,), value).double()) for value in (t, t_next))
        moved = sampler.step(x, *levels, score_fn, exact.graph, draws)
        assert torch.equal(moved[given.positions], x[given.positions])
    assert sampler.stats.positions == 4 * 4


def test_clipping_is_counted_in_the_final_denoising_too() -> None:
    """A total score three times too high at a mask would unmask with probability three: two thirds are clipped."""
    graph, noise, sampler = plugin("graph_absorb")(vocab_size=2), noise_for("absorb"), plugin("sampler_analytic")()
    level = noise(torch.full((1,), 0.5).double())
    odds = level.sigma.expm1()

    def score_fn(x: Tensor, level: NoiseLevel, positions: Tensor | None = None) -> Tensor:
        score = torch.tensor([[1.5, 1.5, 1.0]]).double() / torch.tensor([[odds, odds, 1.0]])
        return score.log()

    sampler.denoise(torch.tensor([[2]]), level, score_fn, graph, Draws(0, torch.arange(1)))
    assert sampler.stats.clipped == pytest.approx(2 / 3)
    assert sampler.stats.positions == 1
