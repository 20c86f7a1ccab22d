"""The linear score entropy on a GPU, with and without its Triton kernel: equal to the dense one in float64."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from benchmarks.heads import HeadWork, head_work
from benchmarks.pairs import GRAPHS
from sedd_core.maths import linear_entropy as fused
from sedd_core.maths.logit_blocks import LogitBlocks
from tests.support.devices import DEVICES, GPU

ROWS, WIDTH, VOCAB = (2, 24), 64, 4500
"""Two blocks of states."""


def dense(work: HeadWork) -> list[Tensor]:
    """Losses of the sequences and gradients of their sum, in float64 from logits of all positions."""
    model = deepcopy(work.both.model).double()
    level, everywhere = work.both.noise(work.t), torch.ones_like(work.x, dtype=torch.bool)
    values = model.graph.score_entropy(
        model.raw(work.x, level, everywhere), level.at(work.x, everywhere), work.x.flatten(), work.tokens.flatten()
    )
    losses = values.view(work.x.shape).sum(-1)
    return [losses.detach(), *torch.autograd.grad(losses.sum(), tuple(model.parameters()))]


@pytest.mark.parametrize("blocks", ["chosen", "chunked"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("device", DEVICES)
def test_it_equals_the_dense_one(
    device: str, graph: str, precision: str, blocks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if blocks == "chunked":
        if device == "cpu":
            pytest.skip("the only one on a CPU")
        monkeypatch.setattr(fused, "TRITON", False)
    work = head_work(graph, precision, ROWS, WIDTH, VOCAB, torch.device(device))
    level, everywhere = work.both.noise(work.t), torch.ones_like(work.x, dtype=torch.bool)
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        losses = work.both.model.score_entropy(work.x, work.tokens, level, everywhere)
    found = [losses.detach(), *torch.autograd.grad(losses.sum(), tuple(work.both.model.parameters()))]
    for value, right in zip(found, dense(work), strict=True):
        assert (value - right).double().norm() < {"fp32": 1e-5, "bf16": 1e-2}[precision] * right.norm()


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=GPU)])
def test_a_gpu_runs_the_kernel(device: str) -> None:
    from sedd_core.maths.triton_blocks import TritonBlocks

    able = torch.cuda.get_device_capability() >= (8, 0)
    for dtype in (torch.float32, torch.bfloat16):
        assert fused.blocks_for(torch.device(device, 0), dtype) is (TritonBlocks if able else LogitBlocks)
