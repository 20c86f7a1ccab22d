"""The class condition of the diffusion transformer."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from sedd_core import UserError, plugin
from sedd_core.stages import NoiseLevel
from sedd_core.testing import check_model

from .test_model_ddit import SIZES, level_of, randomized

X = torch.arange(10).view(2, 5)


def test_conformance() -> None:
    check_model(partial(plugin("model_ddit"), num_classes=3, **SIZES), cond=torch.tensor([0, 2]))


def test_the_class_is_added_to_the_embedding_of_the_noise_level() -> None:
    """Each after its own SiLU; without a condition, the last row of the table is."""
    model = randomized(num_classes=3).eval()
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    level = level_of(X, 0.7)
    for cond, labels in ((torch.tensor([2, 0]), [2, 0]), (None, [3, 3]), (torch.tensor([3, 3]), [3, 3])):
        model(X, level, cond)
        noise = F.silu(model.sigma_map(level.sigma))[:, None]
        expected = noise + F.silu(model.cond_map.embedding_table.weight[labels])[:, None]
        torch.testing.assert_close(seen.pop(), expected)


@pytest.mark.parametrize(
    ("cond", "words"),
    [
        (torch.tensor([1, 4]), r"labels 0 to 3 as its condition \(3: no class\), not \[1, 4\]"),
        (torch.tensor([-1, 0]), "labels 0 to 3"),
        (torch.tensor([1]), r"not torch.int64 \[1\]"),
        (torch.tensor([1.0, 2.0]), r"not torch.float32 \[2\]"),
    ],
)
def test_labels_that_do_not_fit(cond: torch.Tensor, words: str) -> None:
    with pytest.raises(UserError, match=words):
        randomized(num_classes=3)(X, level_of(X, 0.7), cond)


@pytest.mark.parametrize("classes", [0, 3])
def test_sizes_are_inferred_from_tensors(classes: int) -> None:
    cls, sizes = plugin("model_ddit"), {"num_states": 11, **SIZES, **({"num_classes": classes} if classes else {})}
    with torch.device("meta"):
        state = cls(**sizes).state_dict()
    assert cls.sizes_of(state) == sizes
    del state["sigma_map.mlp.0.weight"]
    with pytest.raises(UserError, match=r"sigma_map\.mlp\.0\.weight missing"):
        cls.sizes_of(state)


def test_sigma_in_double_is_kept() -> None:
    """For comparisons with the figures of other code."""
    model = randomized().double()
    assert model(X, NoiseLevel.of_sigma(torch.tensor([0.3, 0.4]))).dtype == torch.float64
