"""MD4's loss and steps on its own logits, as its authors' code computed them; its network has no loader."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.stages import NoiseLevel
from tests.support.families import arrays, level_at

EPS = 1e-4
FILE = Path(__file__).parent / "md4.npz"
"""Of each schedule two sequences of 16 tokens at four times, in float64; 30 tokens and a mask."""


def alpha(kind: str, t: Tensor) -> Tensor:
    """MD4's schedules: the share of original tokens at time t, in [EPS, 1 - EPS]."""
    share = 1 - t if kind == "linear" else 1 - torch.cos(math.pi / 2 * (1 - t))
    return (1 - 2 * EPS) * share + EPS


def of_alpha(share: Tensor, slope: Tensor | None = None) -> NoiseLevel:
    return level_at(torch.zeros_like(share), -share.log(), None if slope is None else -slope / share)


@pytest.fixture(params=["linear", "cosine"])
def golden(request: pytest.FixtureRequest) -> dict[str, Tensor]:
    prefix = f"{request.param}_"
    found = {name.removeprefix(prefix): value for name, value in arrays(FILE).items() if name.startswith(prefix)}
    return {**found, "kind": request.param}


def test_the_loss_is_the_score_entropy_of_the_mean(golden: dict[str, Tensor]) -> None:
    graph, head = plugin("graph_absorb")(vocab_size=30), plugin("head_mean")()
    torch.testing.assert_close(alpha(str(golden["kind"]), golden["t"]), golden["alpha"], rtol=1e-12, atol=0)
    for index, x in enumerate(golden["xt"]):
        level = of_alpha(golden["alpha"][index].expand(len(x)), golden["dalpha"][index].expand(len(x)))
        positions = x == graph.mask
        logits = torch.cat([golden["logits"][index], torch.zeros(*x.shape, 1)], -1)[positions]
        inner = level.at(x, positions)
        log_score = head.log_score(logits, x[positions], inner, graph)
        entropy = graph.score_entropy(log_score, inner, x[positions], golden["x0"][positions])
        losses = level.rate * torch.zeros(x.shape).double().masked_scatter(positions, entropy).sum(-1)
        torch.testing.assert_close(losses, golden["loss_per_sequence"][index], rtol=1e-9, atol=1e-9)


def test_a_step_of_the_analytic_sampler_is_theirs(golden: dict[str, Tensor]) -> None:
    """The network's output at the times of the grid is not recorded: it is taken from their step, without the mask."""
    graph, head, sampler = plugin("graph_absorb")(vocab_size=30), plugin("head_mean")(), plugin("sampler_analytic")()
    for index, (s, t) in enumerate(golden["s_t"]):
        x, theirs = golden["xt"][3 - index], golden["probs_ancestral"][index]
        now, then = (of_alpha(alpha(str(golden["kind"]), time).expand(len(x))) for time in (t, s))

        def score(x: Tensor, level: NoiseLevel, positions: Tensor, theirs: Tensor = theirs) -> Tensor:
            logits, current = theirs[positions].log(), x[positions]
            log_score = head.log_score(logits, current, level.at(x, positions), graph)
            return log_score.scatter(-1, current[:, None], 0.0)

        law = sampler.step_distribution(x, now, then, score, graph)
        masked = x == graph.mask  # they record the law of other positions too, and do not use it
        torch.testing.assert_close(law[masked], theirs[masked], rtol=1e-9, atol=1e-12)
        assert (law.argmax(-1) == x)[~masked].all()
