"""Precision of a model that samples or is evaluated: bfloat16 in the network, float32 in all that follows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sedd_core import plugin
from sedd_core.model import ScoreModel
from sedd_core.model.inference import Inference
from sedd_core.stages import NoiseLevel

X = torch.tensor([[0, 4, 4, 2, 1, 4]])
LEVEL = NoiseLevel.of_sigma(torch.tensor([0.8]))


def model() -> ScoreModel:
    torch.manual_seed(0)
    network = plugin("model_ddit")(num_states=5, hidden_size=32, n_blocks=2, n_heads=2, cond_dim=8, dropout=0.0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return ScoreModel(network, plugin("graph_absorb")(vocab_size=4), plugin("head_mean")()).eval()


@torch.no_grad()
def test_the_network_is_in_bf16_and_what_follows_in_fp32() -> None:
    exact, rounded = model(), Inference(precision="bf16").prepare(model())
    masked = X == 4
    scores = rounded.raw(X, LEVEL, masked)
    with torch.autocast("cpu", torch.bfloat16):
        features = exact.backbone(X, LEVEL.to(torch.float32)).float()[masked]
    logits = nn.functional.linear(features, exact.backbone.head.weight, exact.backbone.head.bias)
    expected = exact.head.log_score(logits, X[masked], LEVEL.at(X, masked), exact.graph)
    assert torch.equal(scores[:, :4], expected[:, :4])  # a head under autocast differs in the third digit
    difference = (scores - exact.raw(X, LEVEL, masked))[:, :4].abs().max()
    assert 1e-4 < difference < 0.5


@torch.no_grad()
def test_fp32_is_what_it_was() -> None:
    for inference in (Inference(), Inference(precision="auto")):  # auto is fp32 on a CPU
        assert torch.equal(inference.prepare(model())(X, LEVEL), model()(X, LEVEL))


def test_the_network_alone_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = list[str]()
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    Inference(compile=True).prepare(model())
    assert compiled == ["DDiT"]


def test_the_name_of_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        assert Inference().prepare(model()).precision == "fp32"
        assert Inference(precision="bf16").prepare(model()).precision == "bf16 network, fp32 head"
        assert Inference(tf32=True).prepare(model()).precision == "fp32"  # a CPU has no TF32
        monkeypatch.setattr(ScoreModel, "_device", lambda self, x: torch.device("cuda"))
        assert model().precision == "tf32"
        torch.set_float32_matmul_precision("highest")
        assert model().precision == "fp32"
    finally:
        torch.set_float32_matmul_precision("highest")
