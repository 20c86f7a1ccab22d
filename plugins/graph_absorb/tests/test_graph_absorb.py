"""The absorbing process: conformance, reachable states, score offset."""

import math

import pytest
import torch

from sedd_core import plugin
from sedd_core.maths.draws import Draws
from sedd_core.stages import NoiseLevel
from sedd_core.testing import check_graph


@pytest.mark.parametrize("vocab_size", [1, 2, 5])
def test_conformance(vocab_size: int) -> None:
    check_graph(plugin("graph_absorb")(vocab_size=vocab_size))


def test_only_the_mask_is_reachable() -> None:
    graph = plugin("graph_absorb")(vocab_size=5)
    assert (graph.mask, graph.num_states) == (5, 6)
    assert graph.reachable(torch.arange(6), NoiseLevel.of_sigma(torch.ones(()))).tolist() == [False] * 5 + [True]
    assert (graph.prior(Draws(0, torch.arange(3)), 4) == 5).all()


def test_the_published_score_offset() -> None:
    graph = plugin("graph_absorb")(vocab_size=50257)
    sigma = torch.tensor([1e-6, 0.3, 80.0], dtype=torch.float64)
    offset = graph.score_offset(torch.tensor([50257, 50257, 7]), NoiseLevel.of_sigma(sigma))
    expected = [-math.log(math.expm1(s)) - math.log(50257) for s in sigma.tolist()]
    torch.testing.assert_close(offset, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_an_empty_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="2 states"):
        plugin("graph_absorb")(vocab_size=0)
