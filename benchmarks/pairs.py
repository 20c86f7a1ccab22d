"""The two published processes in both implementations, and the networks that both are given."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sedd_core import plugin
from sedd_core.model import ScoreModel
from sedd_core.model.score import move_to
from sedd_core.stages import Backbone, Noise, NoiseLevel

from .naive import NaiveAbsorb, NaiveGraph, NaiveModel, NaiveUniform, geometric, loglinear
from .naive.noise import Schedule

GRAPHS = ("absorb", "uniform")


class Features(Backbone):
    """A backbone whose features are parameters, to measure a head without a trunk.

    Args:
        rows: Shape (B, L) of the positions.
        width: Width D of the features.
        states: Number S of states.
    """

    def __init__(self, rows: tuple[int, int], width: int, states: int) -> None:
        super().__init__()
        self.features = nn.Parameter(torch.randn(*rows, width))
        self.linear = nn.Linear(width, states)
        nn.init.normal_(self.linear.weight, std=0.5 / math.sqrt(width))

    @property
    def head(self) -> nn.Linear:
        """The linear map from features to logits."""
        return self.linear

    def forward(self, x: Int64[Tensor, "B L"], level: NoiseLevel, cond: Tensor | None = None) -> Float[Tensor, "B L D"]:
        """The features [B, L, D]."""
        return self.features


def precisions(device: torch.device) -> tuple[str, ...]:
    """fp32, and bf16 where the device multiplies in it.

    A processor without AVX-512 does not: its gradient products in bf16 take hundreds of times those in fp32.

    Args:
        device: Device to measure on.
    """
    if device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "fp32", "bf16"
    return ("fp32",)


@dataclass(frozen=True)
class Pair:
    """One process and one network in both implementations, as published: absorb scaled, uniform unscaled."""

    model: ScoreModel
    """Our score model."""
    noise: Noise
    """Our noise schedule."""
    naive: NaiveModel
    """The naive model, on the same backbone."""
    naive_graph: NaiveGraph
    """The naive process."""
    naive_noise: Schedule
    """The naive noise schedule."""


def states_of(graph: str, vocab: int) -> int:
    """Number S of states of a process over a vocabulary.

    Args:
        graph: "absorb" or "uniform".
        vocab: Vocabulary size V.
    """
    return vocab + 1 if graph == "absorb" else vocab


def pair(graph: str, vocab: int, backbone: Backbone, device: torch.device, *, bf16: bool = False) -> Pair:
    """Both implementations of a process on one backbone.

    Args:
        graph: "absorb" or "uniform".
        vocab: Vocabulary size V.
        backbone: Network; moved to the device.
        device: Device of both.
        bf16: Whether the naive network runs in bf16; ours is told by its caller.
    """
    absorb = graph == "absorb"
    process = plugin(f"graph_{graph}")(vocab_size=vocab)
    noise = plugin("noise_loglinear" if absorb else "noise_geometric")()
    model = ScoreModel(backbone, process, plugin("head_score")(scale_by_sigma=absorb))
    move_to(device, model, noise)
    naive_graph = NaiveAbsorb(vocab + 1) if absorb else NaiveUniform(vocab)
    naive = NaiveModel(backbone, scaled=absorb, bf16=bf16)
    return Pair(model, noise, naive, naive_graph, loglinear if absorb else geometric)


def transformer(graph: str, vocab: int, width: int, blocks: int, *, seed: int = 0) -> Backbone:
    """The diffusion transformer without dropout, and with random weights in its head, which starts at zero in training.

    Args:
        graph: "absorb" or "uniform".
        vocab: Vocabulary size V.
        width: Width D of the features, in heads of 64 or less.
        blocks: Number of blocks.
        seed: Random seed of the weights.
    """
    torch.manual_seed(seed)
    backbone = plugin("model_ddit")(
        num_states=states_of(graph, vocab),
        hidden_size=width,
        n_blocks=blocks,
        n_heads=max(width // 64, 1),
        dropout=0.0,
    )
    nn.init.normal_(backbone.head.weight, std=0.5 / math.sqrt(width))
    return backbone


class BareProducts:
    """The three matrix products that no head avoids: h W^T, dlogits W and dlogits^T h, into memory held before.

    Args:
        rows: Number N of rows.
        width: Width D of the features.
        states: Number S of states.
        dtype: Their dtype.
        device: Their device.
    """

    def __init__(self, rows: int, width: int, states: int, dtype: torch.dtype, device: torch.device) -> None:
        def numbers(*shape: int) -> Tensor:
            return torch.randn(*shape, device=device).to(dtype)

        self.h, self.weight, self.logits = numbers(rows, width), numbers(states, width), numbers(rows, states)
        self.dh, self.dweight = torch.empty_like(self.h), torch.empty_like(self.weight)

    @torch.no_grad()
    def __call__(self) -> None:
        """Compute all three."""
        torch.mm(self.h, self.weight.T, out=self.logits)
        torch.mm(self.logits, self.weight, out=self.dh)
        torch.mm(self.logits.T, self.h, out=self.dweight)
