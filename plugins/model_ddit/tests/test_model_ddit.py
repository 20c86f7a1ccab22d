"""The diffusion transformer; parity with the original is in tests/test_parity_network.py."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.stages import Backbone


def network(**arguments: Any) -> Backbone:
    sizes = {"num_states": 11, "hidden_size": 32, "n_blocks": 2, "n_heads": 4, "cond_dim": 16, "dropout": 0.0}
    return plugin("model_ddit")(**{**sizes, **arguments})


def randomised(**arguments: Any) -> Backbone:
    model = network(**arguments)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


def logits(model: Backbone, x: Tensor) -> Tensor:
    return model.logits(model(x, torch.full((len(x),), 0.5)))


def test_it_starts_at_zero_with_every_block_shut() -> None:
    model, x = network(), torch.arange(10).view(2, 5)
    assert not logits(model, x).any()
    torch.testing.assert_close(model(x, torch.ones(2)), model.output_layer.norm_final(model.vocab_embed(x)))


def test_dropout_acts_in_training_alone() -> None:
    model, x = randomised(dropout=0.5), torch.arange(10).view(2, 5)
    assert not torch.equal(logits(model, x), logits(model, x))
    model.eval()
    assert torch.equal(logits(model, x), logits(model, x))


def test_attention_looks_both_ways_and_knows_positions() -> None:
    model, x = randomised(), torch.tensor([[1, 2, 3, 4, 5, 6]])
    before = logits(model, x)
    for place in (0, 5):
        changed = x.clone()
        changed[0, place] = 9
        assert not torch.allclose(logits(model, changed)[0, 2], before[0, 2], atol=1e-3)
    swapped = x[:, [1, 0, 2, 3, 4, 5]]  # the same tokens elsewhere
    assert not torch.allclose(logits(model, swapped)[0, 2], before[0, 2], atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"n_heads": 5}, "must divide"), ({"n_heads": 32}, "even size"), ({"dropout": 1.0}, "dropout must lie")],
)
def test_wrong_sizes_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**arguments)


def test_a_condition_is_refused() -> None:
    with pytest.raises(UserError, match="no condition"):
        network()(torch.zeros(1, 2, dtype=torch.int64), torch.ones(1), torch.ones(1))
