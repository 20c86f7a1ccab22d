"""Sampling of block diffusion: one block after another, each given the clean ones before it, by any sampler.

Source: Block Diffusion (Arriola et al. 2025, arXiv 2503.09573), algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..maths.draws import Draws
from ..model.score import ScoreModel
from ..stages import Backbone, BlockBackbone, FixedTokens, NoiseLevel


def block_length(model: ScoreModel, length: int) -> int:
    """Length of the blocks in which a model denoises sequences of this length: all of it unless it has blocks."""
    backbone = model.backbone
    return (isinstance(backbone, BlockBackbone) and backbone.block_size) or length


def block_count(model: ScoreModel, length: int) -> int:
    """Number of blocks in which a model denoises sequences of this length."""
    return -(-length // max(block_length(model, length), 1)) or 1


def in_blocks(
    run: Callable[..., Int64[Tensor, "B l"]],
    model: ScoreModel,
    prior: Int64[Tensor, "B L"],
    draws: Draws,
    known: FixedTokens | None,
    cond: Tensor | None,
    on_step: Callable[[Int64[Tensor, "B L"]], None],
) -> Int64[Tensor, "B L"]:
    """Sample block by block; what a block needs of the ones before it is computed once.

    Args:
        run: Samples one block, given its model, prior, draws, known tokens and `on_step`.
        model: The model; one without blocks has a single one.
        prior: States [B, L] at the first noise level.
        draws: Uniform numbers; each block has its own.
        known: Known tokens [B, L]; None: none.
        cond: Conditions [B, ...] for the network.
        on_step: Called with the whole states [B, L], for each state of each block.
    """
    backbone, length = model.backbone, prior.shape[1]
    size = block_length(model, length)
    if size >= length or not isinstance(backbone, BlockBackbone):
        return run(model, prior, draws, known, on_step)
    x, past, device = known.apply(prior) if known else prior, None, next(backbone.parameters()).device
    cond = None if cond is None else cond.to(device)
    for index, part in enumerate(slice(start, start + size) for start in range(0, length, size)):
        own = FixedTokens(*(value[:, part] for value in known)) if known else None
        given = ScoreModel(_Given(backbone, past), model.graph, model.head)
        given.network_dtype = model.network_dtype
        block = run(given, x[:, part], draws.part(f"block {index}"), own, _shown(on_step, x, part))
        x = _put(x, part, block)
        if part.stop < length:
            past = backbone.remember(block.to(device), cond, past)
    return x


def _shown(
    on_step: Callable[[Int64[Tensor, "B L"]], None], x: Int64[Tensor, "B L"], part: slice
) -> Callable[[Int64[Tensor, "B l"]], None]:
    """Shows the states of a block in its place in x."""
    return lambda block: on_step(_put(x, part, block))


def _put(x: Int64[Tensor, "B L"], part: slice, block: Int64[Tensor, "B l"]) -> Int64[Tensor, "B L"]:
    """x with a block in its place."""
    return torch.cat([x[:, : part.start], block, x[:, part.stop :]], 1)


class _Given(Backbone):
    """A backbone given the blocks before its input, which its `past` stands for."""

    def __init__(self, backbone: BlockBackbone, past: Any) -> None:
        super().__init__()
        self.backbone, self.past = backbone, past

    @property
    def reads_noise(self) -> bool:
        return self.backbone.reads_noise

    @property
    def head(self) -> nn.Linear:
        return self.backbone.head

    def forward(self, x: Int64[Tensor, "B L"], level: NoiseLevel, cond: Tensor | None = None) -> Float[Tensor, "B L D"]:
        return self.backbone(x, level, cond, past=self.past)

    def logits(self, features: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape S"]:
        return self.backbone.logits(features)
