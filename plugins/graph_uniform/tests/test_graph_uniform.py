"""The uniform process: conformance, reachable states, prior term."""

import pytest
import torch

from sedd_core import plugin
from sedd_core.stages import NoiseLevel
from sedd_core.testing import check_graph


@pytest.mark.parametrize("vocab_size", [2, 3, 6])
def test_conformance(vocab_size: int) -> None:
    check_graph(plugin("graph_uniform")(vocab_size=vocab_size))


def test_every_token_is_reachable() -> None:
    graph = plugin("graph_uniform")(vocab_size=5)
    assert (graph.mask, graph.num_states) == (None, 5)
    assert graph.reachable(torch.arange(5), NoiseLevel.of_sigma(torch.ones(()))).all()


@pytest.mark.parametrize(("sigma", "nats"), [(20.0, 1e-13), (10.0, 3e-5), (5.0, 0.033)])
def test_the_prior_term_at_the_vocabulary_of_gpt2(sigma: float, nats: float) -> None:
    graph = plugin("graph_uniform")(vocab_size=50257)
    kl = graph.prior_kl(torch.tensor([7]), NoiseLevel.of_sigma(torch.tensor([sigma]))).item()
    assert kl == pytest.approx(nats, rel=0.2)


def test_a_single_token_is_refused() -> None:
    with pytest.raises(ValueError, match="2 states"):
        plugin("graph_uniform")(vocab_size=1)
