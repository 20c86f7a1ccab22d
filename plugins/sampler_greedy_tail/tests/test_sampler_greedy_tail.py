"""The greedy-tail sampler."""

import pytest
import torch

from sedd_core import plugin
from sedd_core.maths import Draws
from sedd_core.testing import Oracle, check_sampler, random_joint


def test_conformance() -> None:
    """On absorb, where the end of a fine sampler changes little; on uniform its law differs from the model's."""
    check_sampler(plugin("sampler_greedy_tail")(), plugin("graph_absorb")(vocab_size=4), plugin("noise_loglinear")())


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_the_end_is_the_likeliest_token_given_all_others(graph: str) -> None:
    """Not given the position itself: at little noise the posterior is the current token, whatever its neighbors."""
    noise = plugin("noise_loglinear")()
    oracle = Oracle(plugin(f"graph_{graph}")(vocab_size=4), noise, random_joint(4, 3, seed=5, concentration=0.2))
    x = oracle.states
    level = noise(torch.full((len(x),), 1e-5, dtype=torch.float64))
    result = plugin("sampler_greedy_tail")().denoise(
        x, level, oracle.score_fn(), oracle.graph, Draws(0, torch.arange(len(x)))
    )
    changed = 0
    for i in range(3):
        clean = (x < 4).all(-1)  # of these all others are known, up to the little noise
        others = oracle.p0.view(4, 4, 4).movedim(i, -1)[tuple(x[clean][:, [j for j in range(3) if j != i]].T)]
        best = others.argmax(-1)
        expected = best if graph == "uniform" else x[clean][:, i]
        sure = others.topk(2).values.diff().abs()[:, 0] > 1e-3 * others.amax(-1)
        assert torch.equal(result[clean][:, i][sure], expected[sure])
        changed += (best != x[clean][:, i]).sum().item()
    assert changed
    if graph == "absorb":
        assert (result < 4).all()
