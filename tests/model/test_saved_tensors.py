"""The estimate of a pass against what autograd saves in a real pass of six configurations, on this machine."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from head_score import ScoreHead
from torch import Tensor, nn

from sedd_core import plugin
from sedd_core.model.memory import bytes_of, estimate
from sedd_core.model.score import ScoreModel
from sedd_core.stages import NoiseLevel

LENGTH = 128
CONFIGURATIONS: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "absorb": ("absorb", False, {}),
    "absorb in bf16": ("absorb", True, {}),
    "uniform": ("uniform", False, {}),
    "uniform in bf16": ("uniform", True, {"n_heads": 4}),
    "dropout": ("gidd", False, {"dropout": 0.1}),
    "wide": ("absorb", True, {"hidden_size": 128, "n_blocks": 3, "dropout": 0.1}),
}


def saved_bytes(model: ScoreModel, sequences: int, bf16: bool) -> int:
    """Bytes of the distinct tensors, but for parameters, that a forward pass of the trunk leaves to the backward pass."""
    storages: dict[int, Tensor] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    level = NoiseLevel.of_sigma(torch.ones(sequences))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", enabled=bf16):
        features = model.backbone(torch.zeros(sequences, LENGTH, dtype=torch.int64), level.to(torch.float32), None)
    keep(features)
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_estimate_is_within_a_tenth_of_what_is_saved(name: str) -> None:
    """Per sequence; the estimate has the head's workspace too, which few states keep small. And per pass, the matrix
    weights in bfloat16."""
    graph, bf16, settings = CONFIGURATIONS[name]
    process = plugin(f"graph_{graph}")(vocab_size=60)
    sizes = {"hidden_size": 64, "n_blocks": 6, "n_heads": 2, "cond_dim": 16, "dropout": 0.0, **settings}
    make = partial(plugin("model_ddit"), num_states=process.num_states, **sizes)
    found = estimate(make, process, ScoreHead(), LENGTH, bf16=bf16)
    model = ScoreModel(make(), process, ScoreHead())
    nn.init.normal_(model.backbone.head.weight)
    one, two = (saved_bytes(model, sequences, bf16) for sequences in (1, 2))
    assert found.per_sequence == pytest.approx(two - one, rel=0.1)
    if bf16:
        assert 0.4 * bytes_of(model) < found.per_pass < 0.7 * bytes_of(model)
