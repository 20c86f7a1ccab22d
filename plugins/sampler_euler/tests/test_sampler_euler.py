"""The Euler sampler."""

import pytest
import torch

from sedd_core import plugin
from sedd_core.stages import NoiseLevel, Step
from sedd_core.testing import check_sampler


@pytest.mark.parametrize(
    ("graph", "noise"), [("absorb", "loglinear"), pytest.param("uniform", "geometric", marks=pytest.mark.slow)]
)
def test_conformance(graph: str, noise: str) -> None:
    process = plugin(f"graph_{graph}")(vocab_size=4)
    check_sampler(plugin("sampler_euler")(), process, plugin(f"noise_{noise}")())


def test_step_weights_follow_the_formula() -> None:
    """dt dsigma/dt pi_x s_y for leaving; the remainder of one, clipped to 0, for staying."""
    graph = plugin("graph_uniform")(vocab_size=4)
    ones = torch.ones(2).double()
    level = NoiseLevel(ones, ones, 2 * ones)
    step = Step(level, level._replace(t=torch.tensor([0.9, 0.0]).double()))
    score = torch.tensor([[1.0, 0.5, 2.0, 0.5], [1.0, 2.0, 2.0, 4.0]]).double()
    values, total = plugin("sampler_euler")().step_weights(torch.tensor([0, 0]), score, step, graph)
    expected = torch.tensor([[0.85, 0.025, 0.1, 0.025], [0.0, 1.0, 1.0, 2.0]]).double()
    torch.testing.assert_close(values, expected)
    assert total.tolist() == [1.0, 1.0]
