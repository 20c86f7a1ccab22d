"""BD3-LM in blocks beside the figures of its authors' code: networks, losses, sampling, and the exact bound."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sedd_core import load_model, plugin
from sedd_core.model import ScoreModel
from sedd_core.sampling.sample import sample
from sedd_core.stages import NoiseLevel
from tests.support.families import WHOLE, arrays, level_at, needs_whole, nodes

TINY = Path(__file__).parent / "golden" / "tiny"


def loaded(folder: Path, dtype: torch.dtype = torch.float64) -> ScoreModel:
    model = load_model(folder)[0]
    embedding = model.backbone.to(dtype).get_submodule("sigma_map")
    embedding.register_forward_pre_hook(lambda _, level: (level[0].to(dtype),))  # it is given float32
    return model


def close(value: Tensor, truth: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(value.double(), truth.double(), rtol=tolerance, atol=tolerance)


@torch.no_grad()
def block_bounds(model: ScoreModel, x0: Tensor, size: int) -> Tensor:
    """The bound [N, L / size] of each block, summed over its masks; in the share of masks a polynomial, at `size` nodes."""
    total = torch.zeros(len(x0), x0.shape[1] // size, dtype=torch.float64)
    for m, weight in nodes(size + 1, 0, 1):
        sigma = torch.full((len(x0),), -math.log1p(-m), dtype=torch.float64)
        for block, masks in product(range(total.shape[1]), product([False, True], repeat=size)):
            masked = torch.zeros_like(x0, dtype=torch.bool)
            masked[:, block * size : (block + 1) * size] = torch.tensor(masks)
            share = m ** sum(masks) * (1 - m) ** (size - sum(masks)) * weight / (1 - m)  # d sigma = dm / (1 - m)
            x = torch.where(masked, model.graph.mask, x0)
            total[:, block] += share * model.score_entropy(x, x0, NoiseLevel.of_sigma(sigma), masked)
    return total


def test_the_bound_of_each_block() -> None:
    golden = arrays(TINY / "exact.npz")
    close(block_bounds(loaded(TINY), golden["x0"], 2), golden["bound_per_block"], 1e-9)


def test_what_was_remembered_is_what_is_read() -> None:
    """Block after block with the past, and at once beside the clean sequence."""
    model, x0 = loaded(TINY), torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    level = level_at(torch.tensor([0.5, 0.5]), torch.tensor([0.7, 0.7]).double())
    backbone, masked = model.backbone, torch.full_like(x0, 3)
    with torch.no_grad():
        at_once = backbone(masked, level, clean=x0)
        past = backbone.remember(x0[:, :2])  # pyright: ignore
        close(backbone(masked[:, 2:], level, past=past), at_once[:, 2:], 1e-12)
        close(backbone(torch.cat([x0[:, :2], masked[:, 2:]], 1), level)[:, 2:], at_once[:, 2:], 1e-12)
        changed = backbone(masked, level, clean=x0 * 0 + 1)
    close(changed[:, :2], at_once[:, :2], 1e-12)
    assert (changed[:, 2:] - at_once[:, 2:]).abs().max() > 1e-3


def test_samples_are_distributed_as_the_authors_say() -> None:
    """One position at a time in random order within a block is exact: chi-square with 80 degrees of freedom, seed fixed."""
    golden, model = arrays(TINY / "exact.npz"), loaded(TINY)
    probs = (-golden["exact_nll_random_order_per_block"].sum(-1)).exp()
    assert probs.sum().item() == pytest.approx(1, abs=1e-9)
    count = 3000
    x = sample(
        model, load_model(TINY)[2], plugin("sampler_first_hitting")(),
        count=count, length=4, steps=4, t_min=1e-5, seed=1, batch_size=count,
    )  # fmt: skip
    places = (x * torch.tensor([27, 9, 3, 1])).sum(-1)
    observed = torch.zeros(81).index_add(0, places, torch.ones(count))
    order = (golden["x0"] * torch.tensor([27, 9, 3, 1])).sum(-1)
    expected = torch.zeros(81, dtype=torch.float64).index_copy(0, order, probs) * count
    enough = expected >= 5
    assert (((observed - expected) ** 2 / expected)[enough]).sum() < enough.sum() + 4 * math.sqrt(2 * enough.sum())


@needs_whole
@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_networks_losses_and_sampling(size: int, kind: str) -> None:
    golden = arrays(WHOLE / "bd3lm" / f"bd3lm_block{size}.npz")
    model = loaded(WHOLE / "bd3lm" / "hub_block_size4", torch.float64 if kind == "f64" else torch.float32)
    model.backbone.block_size = size  # pyright: ignore
    tolerance, x0 = 1e-4 if kind == "f32" else 3e-6, golden["x0"]
    for x, t, logits, losses in zip(
        golden["xt"], golden["t"], golden[f"logits_{kind}"], golden["loss_per_token_f64"], strict=True
    ):
        level = NoiseLevel(t, -torch.log1p(-t), 1 / (1 - t))
        with torch.no_grad():
            features = model.backbone(x, level, clean=x0)
        close(model.backbone.logits(features), logits, tolerance)
        if kind == "f64":
            for position in range(16):
                here = (torch.arange(16) == position) & (x == model.graph.mask)
                entropy = model.score_entropy(x, x0, level, here) * level.rate[:, position]
                close(entropy, losses[:, position].where(here[:, position], 0.0), 1e-5)
    whole = golden["sampling_input"]
    level = level_at(golden["sampling_t"].expand(3), torch.ones(3).double())
    with torch.no_grad():
        past = model.backbone.remember(whole[:, :-size])  # pyright: ignore
        features = model.backbone(whole[:, -size:], level, past=past)
    close(model.backbone.logits(features), golden[f"sampling_logits_{kind}"][:, -size:], tolerance)
