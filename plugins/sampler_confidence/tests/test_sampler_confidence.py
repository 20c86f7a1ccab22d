"""LLaDA's sampler: recorded runs of its authors' code on fixed logits, its bias, and blocks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.maths import Draws
from sedd_core.stages import FixedTokens, Graph, NoiseLevel, Sampler, ScoreFunction
from sedd_core.testing import Oracle, random_joint, total_variation
from tests.support.families import arrays

GOLDEN = Path(__file__).parent / "golden" / "fixed_logits.npz"
MASK = 30
"""LLaDA's mask in the recorded runs, which is a token of its 44; here it is state 44."""


def fixed_scores(logits: Tensor, graph: Graph) -> ScoreFunction:
    """Scores of logits that are the same at all states."""
    head = plugin("head_mean")()

    def score(x: Tensor, level: NoiseLevel, positions: Tensor | None = None) -> Tensor:
        part = torch.ones_like(x, dtype=torch.bool) if positions is None else positions
        padded = torch.nn.functional.pad(logits[:, : x.shape[1]], (0, 1))[part]
        log_score = head.log_score(padded, x[part], level.at(x, part), graph).scatter(-1, x[part][:, None], 0.0)
        return log_score if positions is not None else log_score.view(*x.shape, -1)

    return score


def states_of(sampler: Sampler, logits: Tensor, steps: int, known: FixedTokens | None = None) -> list[Tensor]:
    """The states before each step and the result of a run."""
    graph, seen = plugin("graph_absorb")(vocab_size=logits.shape[-1]), list[Tensor]()
    levels = plugin("noise_loglinear")()(torch.linspace(1, 1e-5, steps + 1, dtype=torch.float64))
    length = logits.shape[1] if known is None else known.tokens.shape[1]
    draws = Draws(0, torch.arange(len(logits)))
    prior = graph.prior(draws, length)
    sampler.run(prior, levels, fixed_scores(logits, graph), graph, draws, known, seen.append)
    return seen


@pytest.mark.parametrize(("name", "temperature"), [("low_confidence", 0.0), ("temperature_1", 1.0)])
def test_recorded_runs_of_the_authors_code(name: str, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = arrays(GOLDEN)
    states, result = golden[f"gen_fixed_logits_{name}_states"], golden[f"gen_fixed_logits_{name}_result"]
    prompt = torch.arange(result.shape[1]) < golden["prompt_length"]
    known = FixedTokens(result, prompt.expand_as(result))
    calls = iter(range(len(states)))

    def race(probs: Tensor, uniform: Tensor) -> Tensor:
        """Their draw, from the recorded numbers at the masked positions of the step."""
        step = next(calls)
        return (probs / -golden[f"gen_fixed_logits_{name}_u"][step][states[step] == MASK].log()).argmax(-1)

    monkeypatch.setattr("sampler_confidence.categorical", race)
    seen = states_of(plugin("sampler_confidence")(temperature=temperature), golden["fixed_logits"], len(states), known)
    for step, expected in enumerate([*states, result]):
        assert torch.equal(seen[step], expected.where(expected != MASK, 44)), f"step {step}"


def test_numbers_of_tokens_per_step_are_the_authors() -> None:
    seen = states_of(plugin("sampler_confidence")(), torch.randn(3, 13, 5).double(), 5)
    unmasked = [int(((before == 5) & (after != 5)).sum(-1)[0]) for before, after in pairwise(seen)]
    assert unmasked[:5] == arrays(GOLDEN)["num_transfer_tokens_13_in_5"].flatten().tolist()


def test_its_bias_on_two_independent_positions_is_what_the_readme_says() -> None:
    logits = torch.tensor([0.7, 0.3]).log().double().expand(20_000, 2, 2)
    _, first, *_, result = states_of(plugin("sampler_confidence")(temperature=1.0), logits, 2)
    assert (result < 2).all()
    share = (first == 0).any(-1).double().mean().item()
    assert abs(share - 0.91) < 0.01
    assert abs((result == 0).double().mean().item() - 0.805) < 0.01


def test_blocks_are_completed_from_the_first_mask_on() -> None:
    """The prompt has two tokens in one sequence and four in the other: their blocks begin there."""
    tokens = torch.zeros(2, 10, dtype=torch.int64)
    known = FixedTokens(tokens, torch.arange(10) < torch.tensor([[2], [4]]))
    seen = states_of(plugin("sampler_confidence")(block_length=4), torch.randn(2, 10, 5).double(), 4, known)
    masked = [(state == 5).int().tolist() for state in seen]
    assert masked[2] == [[0] * 6 + [1] * 4, [0] * 8 + [1] * 2]
    assert sum(masked[4][0]) == sum(masked[4][1]) == 0
    with pytest.raises(UserError, match="too few for 2 blocks"):
        states_of(plugin("sampler_confidence")(block_length=4), torch.randn(2, 10, 5).double(), 1, known)


def test_a_sample_is_a_function_of_its_index_and_other_processes_are_refused() -> None:
    sampler, graph = plugin("sampler_confidence")(temperature=1.0), plugin("graph_absorb")(vocab_size=5)
    generator = torch.Generator().manual_seed(0)
    logits, noise = torch.randn(1, 6, 5, generator=generator).double(), plugin("noise_loglinear")()
    levels = noise(torch.linspace(1, 1e-5, 4, dtype=torch.float64))

    def run(which: Tensor) -> Tensor:
        draws, score = Draws(0, which), fixed_scores(logits.expand(len(which), -1, -1), graph)
        return sampler.run(graph.prior(draws, 6), levels, score, graph, draws)

    assert torch.equal(run(torch.arange(8))[5:], run(torch.arange(5, 8)))
    assert len(run(torch.arange(64)).unique(dim=0)) > 32
    assert sampler.incompatibility(plugin("graph_uniform")(vocab_size=5))
    assert sampler.incompatibility(graph) is None


def distance(steps: int, **settings: Any) -> float:
    """Total variation between samples under exact scores and the data's distribution, three tokens of three states."""
    count, graph, noise = 30_000, plugin("graph_absorb")(vocab_size=3), plugin("noise_loglinear")()
    exact = Oracle(graph, noise, random_joint(3, 3, seed=1, concentration=0.4))
    draws, levels = Draws(0, torch.arange(count)), noise(torch.linspace(1, 1e-5, steps + 1, dtype=torch.float64))
    sampler = plugin("sampler_confidence")(temperature=1.0, **settings)
    out = sampler.run(graph.prior(draws, 3), levels, exact.score_fn(), graph, draws)
    counts = torch.bincount((out * torch.tensor([9, 3, 1])).sum(-1), minlength=27).double()
    return total_variation(counts / count, exact.p0)


@pytest.mark.parametrize("sureness", ["maximum", "margin", "entropy"])
def test_orders_by_distributions_are_exact_one_token_at_a_time(sureness: str) -> None:
    assert distance(3, sureness=sureness) < 0.025  # sampling error: .012 on average


@pytest.mark.slow
def test_the_order_by_drawn_tokens_and_tokens_drawn_together_are_biased() -> None:
    """More so, the larger the entropy that is drawn together."""
    assert distance(3, sureness="drawn") > 0.05
    together = distance(1, sureness="entropy")
    assert together > 0.1
    assert distance(3, sureness="entropy", entropy_bound=0.0) < 0.025
    assert (
        distance(3, sureness="entropy", entropy_bound=10.0)
        == together
        == distance(3, sureness="maximum", threshold=0.0)
    )


def test_numbers_of_tokens_by_threshold_and_entropy_bound() -> None:
    probs = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.5, 0.5]]).double()
    logits, entropies = probs.log()[None], -(probs * probs.log()).sum(-1)

    def first(**settings: Any) -> list[bool]:
        return (states_of(plugin("sampler_confidence")(**settings), logits, 4)[1][0] < 2).tolist()

    assert first(sureness="maximum", threshold=0.7) == [True, False, True, False]
    assert first(sureness="margin", threshold=0.7) == [True, False, False, False]
    bound = (entropies[0] + entropies[2]).item()
    assert first(sureness="entropy", entropy_bound=bound + 1e-3) == [True, True, True, False]
    assert first(sureness="entropy", entropy_bound=bound - 1e-3) == [True, False, True, False]
    with pytest.raises(ValueError, match="needs sureness='entropy', not 'drawn'"):
        plugin("sampler_confidence")(entropy_bound=1.0)
