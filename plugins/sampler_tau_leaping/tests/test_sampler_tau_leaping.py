"""The tau-leaping sampler."""

import math

import pytest
import torch

from sedd_core import plugin
from sedd_core.stages import NoiseLevel, Step
from sedd_core.testing import Oracle, check_sampler, random_joint, total_variation

PAIRS = [
    ("absorb", "loglinear"),
    pytest.param("uniform", "geometric", marks=pytest.mark.slow),
    pytest.param("hybrid", "geometric", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("graph", "noise"), PAIRS)
def test_conformance(graph: str, noise: str) -> None:
    process = plugin(f"graph_{graph}")(vocab_size=4)
    check_sampler(plugin("sampler_tau_leaping")(), process, plugin(f"noise_{noise}")())


@pytest.mark.parametrize("joint", [3, 4])
@pytest.mark.parametrize(("graph", "noise"), PAIRS)
def test_first_order_on_several_joint_distributions(graph: str, noise: str, joint: int) -> None:
    process = plugin(f"graph_{graph}")(vocab_size=3)
    oracle = Oracle(process, plugin(f"noise_{noise}")(), random_joint(3, 3, seed=joint))
    sampler = plugin("sampler_tau_leaping")()
    distance = [total_variation(oracle.sampled(sampler, steps), oracle.p0) for steps in (64, 128)]
    assert abs(math.log2(distance[0] / distance[1]) - 1) < 0.1


def test_step_weights_follow_the_formula() -> None:
    """A position jumps with probability 1 - exp(-Lambda); a score near 0 or infinity gives no NaN."""
    graph, ones = plugin("graph_uniform")(vocab_size=4), torch.ones(4).double()
    level = NoiseLevel(ones, ones, 2 * ones)
    step = Step(level, level._replace(t=0.9 * ones))
    score = torch.tensor([[1.0, 0.5, 2.0, 0.5], [0.0, 1.0, 1.0, 2.0], [1.0, 0.0, 0.0, 0.0], [2.0, 1.0, 4.0, 1.0]])
    values, total = plugin("sampler_tau_leaping")().step_weights(torch.zeros(4).long(), score.double(), step, graph)
    hazard = 0.1 * 2 * 0.25 * 3.0
    jump, stay = 1 - math.exp(-hazard), math.exp(-hazard)
    usual = [stay, jump / 6, jump * 2 / 3, jump / 6]
    expected = [usual, [0.0, 0.25, 0.25, 0.5], [1.0, 0.0, 0.0, 0.0], usual]
    torch.testing.assert_close(values, torch.tensor(expected).double())
    torch.testing.assert_close(values.sum(-1), total)
