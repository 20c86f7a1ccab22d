"""The cache of sampling: the same samples from fewer network calls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sedd_core import UserError, plugin
from sedd_core.model.score import ScoreModel
from sedd_core.sampling.sample import sample
from sedd_core.stages import Backbone, FixedTokens, NoiseLevel

LENGTH = 32


class Timeless(Backbone):
    """A network of the states alone, which counts the sequences it is called with."""

    def __init__(self, num_states: int) -> None:
        super().__init__()
        self.embedding, self.output = nn.Embedding(num_states, 8), nn.Linear(8, num_states)
        self.sequences = 0

    @property
    def reads_noise(self) -> bool:
        return False

    @property
    def head(self) -> nn.Linear:
        return self.output

    def forward(self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None) -> Tensor:
        self.sequences += len(x)
        own = self.embedding(x)
        shift = 0.0 if cond is None else cond[:, None, None].float()
        return torch.tanh(own + own.cumsum(1) / x.shape[1] + shift)


def drawn(graph: str, head: str, cache: bool, **settings: object) -> tuple[Tensor, int, int]:
    """Samples, network calls by sequence, and those that the cache saved."""
    torch.manual_seed(0)
    process, sampler = plugin(f"graph_{graph}")(vocab_size=5), plugin("sampler_euler")()
    network = Timeless(process.num_states)
    model = ScoreModel(network, process, plugin(f"head_{head}")()).eval()
    sizes = {"count": 6, "length": LENGTH, "batch_size": 3, "steps": 64, "t_min": 1e-5, "seed": 0} | settings
    tokens = sample(model, plugin("noise_loglinear")(), sampler, cache=cache, **sizes)
    return tokens, network.sequences, sampler.stats.reused


@pytest.mark.parametrize(("graph", "head"), [("absorb", "mean"), ("absorb", "score"), ("uniform", "mean")])
def test_samples_are_the_same_and_calls_fewer(graph: str, head: str) -> None:
    """Also where scores depend on the noise level in a way that no offset expresses (uniform, mean head)."""
    plain, calls, none = drawn(graph, head, cache=False)
    tokens, cached, reused = drawn(graph, head, cache=True)
    assert torch.equal(tokens, plain)
    assert none == 0
    assert cached + reused == calls
    assert cached < 0.8 * calls


def test_fixed_tokens_and_conditions() -> None:
    given = FixedTokens(torch.zeros(6, LENGTH, dtype=torch.int64), (torch.arange(LENGTH) < 5).expand(6, -1))
    settings = {"fixed_tokens": given, "cond": torch.arange(6)}
    plain, calls, _ = drawn("absorb", "mean", cache=False, **settings)
    tokens, cached, _ = drawn("absorb", "mean", cache=True, **settings)
    assert torch.equal(tokens, plain)
    assert cached < calls


@pytest.mark.parametrize("steps", [64, pytest.param(256, marks=pytest.mark.slow)])
def test_the_number_of_calls_is_the_expected_one(steps: int) -> None:
    """1 + the sum over later steps of the probability that the step before changed a mask of the sequence.

    Of one log-linear step of N in a process that only masks, that is 1 - (1 - p)^L with p = .999 / N at each position.
    """
    count = 40
    _, cached, _ = drawn("absorb", "mean", cache=True, steps=steps, count=count, batch_size=count)
    expected = 1 + (steps - 1) * (1 - (1 - 0.999 / steps) ** LENGTH)
    deviation = (steps / 4 * count) ** 0.5  # at most: changes of a sequence exclude each other
    assert abs(cached - count * expected) < 5 * deviation + count


def test_a_network_that_reads_the_noise_level_is_refused() -> None:
    process = plugin("graph_absorb")(vocab_size=5)
    network = plugin("model_ddit")(num_states=6, hidden_size=8, n_blocks=1, n_heads=2, cond_dim=4)
    model = ScoreModel(network, process, plugin("head_mean")())
    sizes = {"count": 1, "length": 4, "batch_size": 1, "steps": 2, "t_min": 1e-5, "seed": 0}
    with pytest.raises(UserError, match=r"cache=true needs a network that is not given the noise level, which DDiT is"):
        sample(model, plugin("noise_loglinear")(), plugin("sampler_analytic")(), cache=True, **sizes)
