"""The hybrid process."""

import pytest
import torch

from sedd_core import plugin
from sedd_core.stages import NoiseLevel
from sedd_core.testing import check_graph


@pytest.mark.parametrize("p_uniform", [1e-3, 0.1, 0.9])
def test_conformance(p_uniform: float) -> None:
    check_graph(plugin("graph_hybrid")(vocab_size=4, p_uniform=p_uniform))


def test_every_state_is_reachable() -> None:
    graph = plugin("graph_hybrid")(vocab_size=5)
    assert (graph.mask, graph.num_states) == (5, 6)
    assert graph.reachable(torch.arange(6), NoiseLevel.of_sigma(torch.ones(()))).all()


@pytest.mark.parametrize("arguments", [{"vocab_size": 0}, {"vocab_size": 4, "p_uniform": 0.0}])
def test_invalid_arguments_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must lie|at least 2 states"):
        plugin("graph_hybrid")(**arguments)
