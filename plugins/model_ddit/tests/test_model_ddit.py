"""The diffusion transformer; parity with the original is tested in tests/model/test_parity_network.py."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.stages import Backbone, NoiseLevel


def network(**arguments: Any) -> Backbone:
    sizes = {"num_states": 11, "hidden_size": 32, "n_blocks": 2, "n_heads": 4, "cond_dim": 16, "dropout": 0.0}
    return plugin("model_ddit")(**{**sizes, **arguments})


def randomized(**arguments: Any) -> Backbone:
    model = network(**arguments)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


def level_of(x: Tensor, sigma: float) -> NoiseLevel:
    return NoiseLevel.of_sigma(torch.full((len(x),), sigma)).to(torch.float32)


def logits(model: Backbone, x: Tensor) -> Tensor:
    return model.logits(model(x, level_of(x, 0.5)))


def test_logits_start_at_zero_and_all_gates_are_closed() -> None:
    model, x = network(), torch.arange(10).view(2, 5)
    assert not logits(model, x).any()
    torch.testing.assert_close(model(x, level_of(x, 1.0)), model.output_layer.norm_final(model.vocab_embed(x)))


def test_dropout_is_active_in_training_only() -> None:
    model, x = randomized(dropout=0.5), torch.arange(10).view(2, 5)
    assert not torch.equal(logits(model, x), logits(model, x))
    model.eval()
    assert torch.equal(logits(model, x), logits(model, x))


def test_attention_is_bidirectional_and_depends_on_positions() -> None:
    model, x = randomized(), torch.tensor([[1, 2, 3, 4, 5, 6]])
    before = logits(model, x)
    for position in (0, 5):
        changed = x.clone()
        changed[0, position] = 9
        assert not torch.allclose(logits(model, changed)[0, 2], before[0, 2], atol=1e-3)
    swapped = x[:, [1, 0, 2, 3, 4, 5]]  # the same tokens at other positions
    assert not torch.allclose(logits(model, swapped)[0, 2], before[0, 2], atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"n_heads": 5}, "must divide"), ({"n_heads": 32}, "even size"), ({"dropout": 1.0}, "dropout must lie")],
)
def test_invalid_sizes_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**arguments)


def test_a_condition_is_refused() -> None:
    x = torch.zeros(1, 2, dtype=torch.int64)
    with pytest.raises(UserError, match="no condition"):
        network()(x, level_of(x, 1.0), torch.ones(1))
