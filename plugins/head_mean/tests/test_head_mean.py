"""The mean head: the published integrands of MDLM, Duo, UDLM and GIDD, and the conversion to scores and back.

`integrands.npz` has logits of random networks and the loss per token that the authors' own code computes from them, in
float64: one sequence at four times for each family.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.stages import Graph, Noise, NoiseLevel
from sedd_core.testing import check_head

GOLDEN = {name: torch.from_numpy(array) for name, array in np.load(Path(__file__).parent / "integrands.npz").items()}
TOKENS = 30


class Linear(Noise):
    """alpha = 1 - (1 - eps) t."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, t: Tensor) -> NoiseLevel:
        alpha = 1 - (1 - self.eps) * t.double()
        return NoiseLevel(t.double(), -alpha.log(), (1 - self.eps) / alpha)

    def time(self, sigma: Tensor) -> Tensor:
        return -torch.expm1(-sigma) / (1 - self.eps)


FAMILIES: dict[str, tuple[Graph, Noise]] = {
    "mdlm": (plugin("graph_absorb")(vocab_size=TOKENS), plugin("noise_loglinear")()),
    "duo": (plugin("graph_uniform")(vocab_size=TOKENS), Linear(1e-3)),
    "udlm": (plugin("graph_uniform")(vocab_size=TOKENS), Linear(0.0)),
    "gidd": (plugin("graph_gidd")(vocab_size=TOKENS, p_uniform=0.2), plugin("noise_gidd")(p_uniform=0.2)),
}
"""UDLM's loss is computed with alpha = 1 - t, although its data is noised, as Duo's, with 1 - .999 t."""


def loss_of(family: str, factor: float = 1.0) -> tuple[Tensor, Tensor]:
    """The loss per token of score entropy under the mean head, and the published one."""
    graph, noise = FAMILIES[family]
    x, logits = GOLDEN[f"{family}__x"], GOLDEN[f"{family}__logits"]
    level = noise(GOLDEN[f"{family}__t"]).at(x)
    level = level._replace(sigma=factor * level.sigma)
    x0 = GOLDEN[f"{family}__x0"].expand_as(x)
    log_score = plugin("head_mean")().log_score(logits, x, level, graph)
    entropy = graph.score_entropy(log_score, level, x, x0)
    return level.rate * entropy * GOLDEN.get(f"{family}__mask", torch.ones(())), GOLDEN[f"{family}__loss"]


@pytest.mark.parametrize("family", FAMILIES)
def test_score_entropy_is_the_published_integrand(family: str) -> None:
    ours, published = loss_of(family)
    scale = published.abs().clamp(min=published.abs().mean())
    assert ((ours - published).abs() / scale).max() < 1e-12
    with pytest.raises(AssertionError):
        torch.testing.assert_close(*loss_of(family, 1.0001), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("graph", ["absorb", "uniform", "hybrid", "gidd"])
def test_conformance(graph: str) -> None:
    check_head(plugin("head_mean")(), plugin(f"graph_{graph}")(vocab_size=4))


@pytest.mark.parametrize("graph", ["uniform", "hybrid"])
@pytest.mark.parametrize("sigma", [1e-3, 1.0, -math.log(1e-3)])
def test_the_mean_comes_back_from_its_scores(graph: str, sigma: float, seed: int) -> None:
    """To 1e-12 for alpha >= 1e-3."""
    process, level = plugin(f"graph_{graph}")(vocab_size=5), NoiseLevel.of_sigma(torch.tensor(sigma))
    x = torch.arange(process.num_states)
    logits = torch.randn(len(x), len(x), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean = plugin("head_mean")().log_mean(logits, x, level, process).exp()
    score = plugin("head_mean")().log_score(logits, x, level, process).exp()
    torch.testing.assert_close(process.mean_from_score(score, x, level), mean, rtol=0, atol=1e-12)


def test_a_forbidden_token_is_legal() -> None:
    """A logit of -inf has probability 0, and a loss that is finite unless it is the clean token."""
    graph, level = plugin("graph_uniform")(vocab_size=3), NoiseLevel.of_sigma(torch.tensor([0.5, 0.5]))
    x, x0 = torch.tensor([0, 0]), torch.tensor([0, 1])
    logits = torch.tensor([[0.3, 0.1, -math.inf]]).expand(2, 3)
    log_score = plugin("head_mean")().log_score(logits, x, level, graph)
    assert log_score.isfinite().all()  # another token becomes this one
    assert graph.score_entropy(log_score, level, x, x0).isfinite().all()
    absorb, mask = plugin("graph_absorb")(vocab_size=3), torch.tensor([3, 3])
    logits = torch.tensor([[0.3, 0.1, -math.inf, 0.0]]).expand(2, 4)
    log_score = plugin("head_mean")().log_score(logits, mask, level, absorb)
    assert absorb.score_entropy(log_score, level, mask, x0).isfinite().all()
    assert absorb.score_entropy(log_score, level, mask, torch.tensor([2, 2])).isinf().all()
