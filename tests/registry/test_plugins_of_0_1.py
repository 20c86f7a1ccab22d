"""Plugins written for version 0.1: one message names what has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sedd_core import UserError
from sedd_core.registry.plugins import plugin
from tests.support.distributions import Distributions, distributions_in

OLD: dict[str, tuple[str, str]] = {
    "graph_of_sigma": (
        """
class Old(InterpolatingGraph):
    def __init__(self, *, vocab_size: int) -> None:
        super().__init__(torch.full((vocab_size,), 1 / vocab_size).double(), vocab_size=vocab_size)
    def score_offset(self, x, sigma):
        return sigma
""",
        "Old.score_offset(self, x, sigma) differs from its contract, score_offset(self, x: ",
    ),
    "graph_with_active": (
        """
class Old(InterpolatingGraph):
    def __init__(self, *, vocab_size: int) -> None:
        super().__init__(torch.full((vocab_size,), 1 / vocab_size).double(), vocab_size=vocab_size)
    def active(self, x):
        return x >= 0
""",
        "Old.active has been renamed: since 0.2 it is reachable(x, level)",
    ),
    "sampler_of_steps": (
        """
from sedd_core.stages import FactorisedSampler, Step, Weights
""",
        "since 0.2 that is FactorizedSampler, which states step_weights(x, score, step, graph)",
    ),
    "sampler_that_aims": (
        """
class Old(Sampler):
    def step(self, x, level, level_next, score_fn, graph, draws, state=None):
        return x
    def aim(self, weights, here):
        return weights
""",
        "Old.aim has been renamed: since 0.2 it is reweight_targets(weights, x)",
    ),
    "sampler_of_times": (
        """
class Old(Sampler):
    def step(self, x, t, t_next, model, noise, graph, draws):
        return x
""",
        "Old.step(self, x, t, t_next, model, noise, graph, draws) differs from its contract, step(",
    ),
    "model_of_sigma": (
        """
class Old(Backbone):
    def __init__(self, *, num_states: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, num_states)
    @property
    def head(self):
        return self.linear
    def forward(self, x, sigma, cond=None):
        return torch.zeros(*x.shape, 4)
""",
        "Old.forward(self, x, sigma, cond=None) differs from its contract, forward(",
    ),
    "noise_of_old_rooms": (
        "from sedd_core.numerics import expand_to",
        "since 0.2 its names are in sedd_core.maths",
    ),
}


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    with distributions_in(tmp_path, monkeypatch) as others:
        yield others


@pytest.mark.parametrize("name", OLD)
def test_one_message_names_what_has_changed(others: Distributions, name: str) -> None:
    source, expected = OLD[name]
    head = "import torch\nfrom sedd_core import hookimpl\nfrom sedd_core.stages import *\n"
    hook = f"\n@hookimpl\ndef sedd_{name.partition('_')[0]}():\n    return Old\n"
    others.add("somebodys", {name: head + source + hook})
    with pytest.raises(UserError) as caught:
        plugin(name)
    assert f"'{name}' (somebodys 1.0) cannot be used" in str(caught.value)
    assert expected in str(caught.value)
