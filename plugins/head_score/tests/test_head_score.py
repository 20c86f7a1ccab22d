"""The head of SEDD."""

import pytest
import torch

from sedd_core import plugin
from sedd_core.stages import NoiseLevel
from sedd_core.testing import check_head


@pytest.mark.parametrize("graph", ["absorb", "uniform", "hybrid", "gidd"])
@pytest.mark.parametrize("scale_by_sigma", [True, False])
def test_conformance(graph: str, scale_by_sigma: bool) -> None:
    check_head(plugin("head_score")(scale_by_sigma=scale_by_sigma), plugin(f"graph_{graph}")(vocab_size=4))


def test_a_scaled_head_adds_the_offset_of_the_graph() -> None:
    graph, level = plugin("graph_absorb")(vocab_size=3), NoiseLevel.of_sigma(torch.tensor([0.2]))
    x, logits = torch.tensor([3]), torch.tensor([[0.5, -1.0, 2.0, 0.0]])
    plain, scaled = (
        plugin("head_score")(scale_by_sigma=scale).log_score(logits, x, level, graph) for scale in (False, True)
    )
    assert torch.equal(plain, logits)
    torch.testing.assert_close(scaled - plain, graph.score_offset(x, level)[:, None].float().expand(1, 4))


def test_scaling_is_advised_against_without_a_mask() -> None:
    head = plugin("head_score")()
    assert head.warning(plugin("graph_absorb")(vocab_size=3)) is None
    assert "head.scale_by_sigma=false" in (head.warning(plugin("graph_uniform")(vocab_size=3)) or "")
