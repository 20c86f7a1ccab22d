"""Denoising cross-entropy: conformance, RADD's figures, the whole bound by enumeration, and its spread."""

from __future__ import annotations

from itertools import permutations
from typing import Literal

import pytest
import torch
from objective_dce import DenoisingCrossEntropy
from torch import Tensor

from sedd_core import plugin
from sedd_core.maths import Draws
from sedd_core.model import ScoreModel
from sedd_core.stages import Batch
from sedd_core.testing import check_objective
from tests.support.families import WHOLE, Exact, arrays, needs_whole
from tests.support.runs import ROOT

RADD = ROOT / "plugins" / "format_radd" / "tests" / "golden" / "tiny"


class Chosen(Draws):
    """Draws that are given: `chosen` for the strata, `places` for the uniform numbers of positions."""

    def __init__(self, chosen: Tensor, places: Tensor) -> None:
        super().__init__(0, torch.arange(len(chosen)))
        object.__setattr__(self, "chosen", chosen)
        object.__setattr__(self, "places", places)

    def strata(self, stream: str) -> Tensor:
        return self.chosen  # pyright: ignore[reportAttributeAccessIssue]

    def uniform(self, stream: str, *shape: int) -> Tensor:
        return self.places  # pyright: ignore[reportAttributeAccessIssue]


def double(exact: Exact) -> ScoreModel:
    """The network in double, whose noise levels a score model would give in float32."""
    exact.backbone.register_forward_pre_hook(lambda _, args: (args[0], args[1].to(torch.float64), *args[2:]))
    return ScoreModel(exact.backbone, exact.graph, exact.head)


@pytest.mark.parametrize("form", ["k", "lambda"])
@pytest.mark.parametrize("head", ["score", "mean"])
def test_conformance(head: str, form: Literal["k", "lambda"]) -> None:
    """The kit's network reads the noise, so this is the bound of such networks too."""
    graph, noise = plugin("graph_absorb")(vocab_size=3), plugin("noise_loglinear")()
    check_objective(DenoisingCrossEntropy(form=form), graph, plugin(f"head_{head}")(), noise)


@torch.no_grad()
def test_the_whole_bound_of_radds_network() -> None:
    """All orders of four positions and all k, of every 16th sequence: the expectation, not an estimate of it."""
    exact, golden = Exact(RADD), arrays(RADD / "exact.npz")
    model = double(exact)
    orders = torch.tensor(list(permutations(range(4))))
    places = ((orders + 0.5) / 4).double().repeat(4, 1)
    chosen = ((torch.arange(4).double() + 0.5) / 4).repeat_interleave(len(orders))
    for x0, truth in list(zip(golden["x0"], golden["any_order_nll_bound"], strict=True))[::16]:
        batch = Batch(x0.expand(len(chosen), -1))
        losses = DenoisingCrossEntropy().losses(model, exact.noise, batch, Chosen(chosen, places), 1e-3)
        torch.testing.assert_close(losses.mean(), truth, rtol=1e-9, atol=1e-9)


@needs_whole
@torch.no_grad()
def test_the_integrands_of_radd() -> None:
    """Their states are given: places below the threshold where they are masked."""
    golden, exact = arrays(WHOLE / "radd" / "radd.npz"), Exact(WHOLE / "radd" / "hub")
    model = double(exact)
    batch = Batch(golden["x0"])
    spread = torch.linspace(0.1, 0.4, 16, dtype=torch.float64)
    for index, (share, count) in enumerate(zip(golden["lambda"], golden["k"].tolist(), strict=True)):
        given = {"k": (count - 0.5) / 16, "lambda": share.item()}
        for form, states in (("k", "x_k"), ("lambda", "x_lambda")):
            masked = golden[states][index] == exact.graph.mask
            places = torch.where(masked, spread * given["lambda"], 1 - spread * (1 - given["lambda"]))
            draws = Chosen(torch.full((3,), given[form], dtype=torch.float64), places)
            losses = DenoisingCrossEntropy(form=form).losses(model, exact.noise, batch, draws, 1e-3)
            truth = golden[f"loss_{form}_DCE_f64"][index]
            torch.testing.assert_close(losses.double(), truth, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_exact_numbers_of_masks_spread_least() -> None:
    """Batches of 64 on RADD's network: the standard deviation of a batch's mean, of exact numbers below half."""
    exact, golden = Exact(RADD), arrays(RADD / "exact.npz")
    model = double(exact)
    batch, spreads = Batch(golden["x0"][7].expand(64, -1)), {}
    for name, objective in (
        ("k", DenoisingCrossEntropy(form="k")),
        ("lambda", DenoisingCrossEntropy(form="lambda")),
        ("t", plugin("objective_score_entropy")()),
    ):
        means = [
            objective.losses(model, exact.noise, batch, Draws(0, torch.arange(64), step, (), 64), 1e-3).mean()
            for step in range(32)
        ]
        spreads[name] = torch.stack(means).std().item()
    assert spreads["k"] < 0.5 * spreads["lambda"]
    assert spreads["k"] < 0.5 * spreads["t"]


@pytest.mark.parametrize("form", ["k", "lambda"])
def test_positions_outside_of_the_loss_mask_stay(form: Literal["k", "lambda"]) -> None:
    free = torch.rand(200, 6, generator=torch.Generator().manual_seed(0)) < 0.4
    masked, share, weight = DenoisingCrossEntropy(form=form).masks(free, Draws(0, torch.arange(200)))
    assert not (masked & ~free).any()
    assert ((share > 0) & (share < 1)).all()
    assert weight.isfinite().all()
    if form == "k":
        count, length = masked.sum(-1), free.sum(-1)
        assert ((count >= 1) == (length > 0)).all()
        torch.testing.assert_close(weight * count, length.double())


def test_other_graphs_are_refused() -> None:
    for graph in ("uniform", "hybrid", "gidd"):
        assert "absorb alone" in str(DenoisingCrossEntropy().incompatibility(plugin(f"graph_{graph}")(vocab_size=3)))
    assert DenoisingCrossEntropy().incompatibility(plugin("graph_absorb")(vocab_size=3)) is None
