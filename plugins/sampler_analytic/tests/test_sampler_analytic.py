"""The analytic sampler."""

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
    check_sampler(plugin("sampler_analytic")(), process, plugin(f"noise_{noise}")())


def test_absorb_unmasks_with_probability_expm1_of_the_step_times_score() -> None:
    graph, delta = plugin("graph_absorb")(vocab_size=3), 0.2
    now, then = (NoiseLevel.of_sigma(torch.tensor([sigma]).double()) for sigma in (1.0, 1.0 - delta))
    score = torch.tensor([[0.5, 0.25, 0.75, 1.0]]).double()
    values, total = plugin("sampler_analytic")().step_weights(torch.tensor([3]), score, Step(now, then), graph)
    torch.testing.assert_close(values[:, :3] / total, torch.tensor(delta).double().expm1() * score[:, :3])
    torch.testing.assert_close(values.sum(-1), total)
