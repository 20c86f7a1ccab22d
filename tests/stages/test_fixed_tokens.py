"""Given tokens are enforced by the framework, whatever a sampler overrides."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.sampling.sample import sample
from sedd_core.stages import FixedTokens, Sampler
from tests.support.networks import network, noise_for

Analytic = plugin("sampler_analytic")


class DropsThem(Analytic):
    """A run of its own that never looks at given tokens."""

    def run(self, x, levels, score_fn, graph, draws, fixed_tokens=None, on_step=lambda x: None) -> Tensor:
        on_step(x)
        each = [levels.pick(index).at(x[:, 0]) for index in range(len(levels.sigma))]
        for index, (level, level_next) in enumerate(itertools.pairwise(each)):
            x = self.step(x, level, level_next, score_fn, graph, draws.at(index))
            on_step(x)
        x = self.denoise(x, each[-1], score_fn, graph, draws.at(len(each) - 1))
        on_step(x)
        return x


class Scrambles(Analytic):
    """A step that replaces every token, whatever the scores are."""

    def step(self, x, level, level_next, score_fn, graph, draws, state=None) -> Tensor:
        super().step(x, level, level_next, score_fn, graph, draws, state)
        return (draws.uniform("scramble", x.shape[1]) * graph.vocab_size).long()


class ScramblesAndDrops(Scrambles, DropsThem):
    """Both."""

    def denoise(self, x, level, score_fn, graph, draws) -> Tensor:
        return self.step(x, level, level, score_fn, graph, draws)


@pytest.mark.parametrize("sampler", [DropsThem, Scrambles, ScramblesAndDrops])
@pytest.mark.parametrize("fixed_token_noise", ["same", "none"])
@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_given_tokens_are_seen_and_come_out_whatever_a_sampler_does(
    graph: str, fixed_token_noise: str, sampler: type[Sampler], seed: int
) -> None:
    """What the network is shown, what on_step is shown, and what comes out."""
    model = network(plugin(f"graph_{graph}")(vocab_size=5), seed)
    generator = torch.Generator().manual_seed(seed)
    tokens, where = torch.randint(5, (6, 8), generator=generator), torch.rand(6, 8, generator=generator) < 0.5
    asked: list[Tensor] = []
    seen: list[Tensor] = []
    model.backbone.register_forward_hook(lambda module, inputs, output: asked.append(inputs[0]))

    def draw(kind: type[Sampler]) -> Tensor:
        return sample(
            model, noise_for(graph), kind(), count=6, length=8, steps=4, t_min=1e-3, seed=seed, batch_size=6,
            fixed_tokens=FixedTokens(tokens, where), fixed_token_noise=fixed_token_noise, on_step=seen.append,
        )  # fmt: skip

    out = draw(sampler)
    assert 1 <= len(asked) <= 5  # the network is not asked where no position can move
    assert len(seen) == 6
    for state in [*asked, *seen, out]:
        assert torch.equal(state[where], tokens[where])
    if sampler is DropsThem:
        assert torch.equal(out, draw(Analytic))
