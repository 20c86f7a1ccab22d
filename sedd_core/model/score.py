"""The score model: a backbone whose logits a head converts to log-scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from ..maths.numerics import expand_to, float64_device
from ..stages.backbone import Backbone, BlockBackbone
from ..stages.graph import Graph
from ..stages.head import Head
from ..stages.network import ScoreNetwork
from ..stages.noise import Noise, NoiseLevel
from ..stages.overrides import of_one_class
from ..stages.scores import LazyScores
from .capabilities import check_takes_blocks, check_takes_documents
from .entropy import is_linear, linear_head_entropy


class ScoreModel(nn.Module, ScoreNetwork):
    """A backbone interpreted as the log-score of a graph.

    Args:
        backbone: Network from states and noise levels to features and logits.
        graph: Forward process.
        head: Map from logits to log-scores.
    """

    def __init__(self, backbone: Backbone, graph: Graph, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.graph = graph
        self.head = head
        self.network_dtype: torch.dtype | None = None
        """Dtype of autocast for the backbone without its head; None: that of its surroundings."""
        self._in_blocks = isinstance(backbone, BlockBackbone) and backbone.block_size > 0
        if self._in_blocks:
            check_takes_blocks(graph)

    def forward(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        positions: Bool[Tensor, "B L"] | None = None,
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "... S"]:
        """Compute the log-scores log s(x) at a noise level; 0 at the current state.

        Args:
            x: States [B, L].
            level: Noise level [B] or [B, L].
            positions: Positions [B, L] to compute log-scores at; None: all.
            cond: Conditions [B, ...] for the network.
            documents: Document [B, L] of each position, from `Batch.documents`; None: each row is one document.

        Returns:
            Log-scores [B, L, S], or [N, S] at the N selected positions.
        """
        selected = torch.ones_like(x, dtype=torch.bool) if positions is None else positions
        log_score = self.raw(x, level, selected, cond, documents).scatter(-1, x[selected][..., None], 0.0)
        return log_score.view(*x.shape, -1) if positions is None else log_score

    def raw(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        positions: Bool[Tensor, "B L"],
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "N S"]:
        """Log-scores [N, S] at `positions`, with an arbitrary entry at the current state, which the loss ignores."""
        rows = positions.flatten().nonzero()[:, 0]
        features = self._features(x, level, cond, documents).flatten(0, 1)[rows.to(self._device(x))]
        return self._log_score(features, x.flatten()[rows], level.at(x).flatten().pick(rows))

    def lazy(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        positions: Bool[Tensor, "B L"],
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
    ) -> LazyScores:
        """See `ScoreNetwork.lazy`."""
        rows = positions.flatten().nonzero()[:, 0]

        def features() -> Float[Tensor, "N D"]:
            return self._features(x, level, cond, documents).flatten(0, 1)[rows.to(self._device(x))]

        return ModelScores(self, rows, x.flatten()[rows], level.at(x).flatten().pick(rows), features)

    def score_entropy(
        self,
        x: Int64[Tensor, "B L"],
        x0: Int64[Tensor, "B L"],
        level: NoiseLevel,
        positions: Bool[Tensor, "B L"],
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
        weight: Float64[Tensor, "..."] | None = None,
    ) -> Float64[Tensor, " B"]:
        """See `ScoreNetwork.score_entropy`."""
        rows = positions.flatten().nonzero()[:, 0]  # the one wait for the device
        features = self._features(x, level, cond, documents, x0).flatten(0, 1)[rows.to(self._device(x))]
        current, clean, now = x.flatten()[rows], x0.flatten()[rows], level.at(x).flatten().pick(rows)
        factor = torch.ones_like(now.sigma) if weight is None else expand_to(weight, x).flatten()[rows]
        return _SumBySequence.apply(self.entropy(features, current, clean, now, factor), rows, x.shape)

    def entropy(
        self,
        features: Float[Tensor, "N D"],
        x: Int64[Tensor, " N"],
        x0: Int64[Tensor, " N"],
        level: NoiseLevel,
        weight: Float64[Tensor, " N"],
    ) -> Float64[Tensor, " N"]:
        """`weight` times the score entropy [N] of positions with these features.

        Args:
            features: Features of the positions.
            x: Noised states.
            x0: Clean tokens.
            level: Noise level [N].
            weight: Factor of each position.
        """
        trained = any(part.requires_grad for part in (*level, weight, *self.graph.parameters()))  # not the head alone
        if is_linear(self.backbone) and features.device == x.device and not trained:
            return linear_head_entropy(features, self.backbone.head, self.head, self.graph, x, x0, level, weight)
        return weight * self.graph.score_entropy(self._log_score(features, x, level), level, x, x0)

    @property
    def precision(self) -> str:
        """Precision of the network, and of the head where it differs, as part of a figure's protocol."""
        rounded = self._device(torch.empty(0)).type == "cuda" and torch.get_float32_matmul_precision() != "highest"
        head = "tf32" if rounded else "fp32"
        return head if self.network_dtype is None else f"bf16 network, {head} head"

    def _device(self, x: Tensor) -> torch.device:
        """The network's device, which differs from that of x if it has no float64."""
        return next(self.backbone.parameters(), x).device

    def _features(
        self, x: Tensor, level: NoiseLevel, cond: Tensor | None, documents: Tensor | None, clean: Tensor | None = None
    ) -> Float[Tensor, "B L D"]:
        device = self._device(x)
        inputs = [x.to(device), level.to(torch.float32).to(device), None if cond is None else cond.to(device)]
        if documents is not None:
            check_takes_documents(type(self.backbone))
            inputs.append(documents.to(device))
        given = {"clean": clean.to(device)} if self._in_blocks and clean is not None else {}
        if self.network_dtype is None:
            return self.backbone(*inputs, **given)
        with torch.autocast(device.type, self.network_dtype):
            return self.backbone(*inputs, **given).float()

    def _log_score(self, features: Tensor, x: Tensor, level: NoiseLevel) -> Float[Tensor, "N S"]:
        return self.head.log_score(self.backbone.logits(features).to(x.device), x, level, self.graph)


class _SumBySequence(torch.autograd.Function):
    """Sums of the values at some positions by sequence.

    Sequences with one weight, expanded, give positions one weight, expanded: the host need not compare them.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.length = shape[1]
        return values.new_zeros(shape.numel()).index_copy(0, rows, values).view(shape).sum(-1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (rows,) = ctx.saved_tensors
        if len(upstream) == 1 or upstream.stride() == (0,):
            return upstream[:1].expand(len(rows)), None, None
        return upstream[rows // ctx.length], None, None


@dataclass(frozen=True)
class ModelScores:
    """See `LazyScores`: the network runs when the first log-scores are needed, its head for those rows alone."""

    model: ScoreModel
    rows: Int64[Tensor, " N"]
    x: Int64[Tensor, " N"]
    level: NoiseLevel
    run: Callable[[], Float[Tensor, "N D"]]

    @cached_property
    def features(self) -> Float[Tensor, "N D"]:
        """Features [N, D] of the rows, on the network's device."""
        return self.run()

    def log_score(self, part: slice | Int64[Tensor, " M"]) -> Float[Tensor, "M S"]:
        """See `LazyScores`; an offset of the head is left out, as a constant of each row."""
        x, level, head, graph = self.x[part], self.level.pick(part), self.model.head, self.model.graph
        features = self.features[part if isinstance(part, slice) else part.to(self.features.device)]
        logits = self.model.backbone.logits(features).to(x.device)
        offset = head.offset(x, level, graph) if of_one_class(head, "offset", "log_score") else None
        if offset is None:
            return head.log_score(logits, x, level, graph).scatter(-1, x[:, None], 0.0)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits.scatter_(-1, x[:, None], -offset[:, None].to(logits.dtype))

    def others(self) -> Float64[Tensor, " N"] | None:
        """See `LazyScores`."""
        agree = of_one_class(self.model.head, "others", "log_score", "log_mean")
        return self.model.head.others(self.x, self.level, self.model.graph) if agree else None


def move_to(device: torch.device | str, model: ScoreModel, noise: Noise) -> None:
    """Move a network to a device, and its graph and noise schedule to the `float64_device` of that device, in place.

    Args:
        device: The device of the network.
        model: The model; its inputs (states, noise levels) belong on the `float64_device`.
        noise: The noise schedule.
    """
    model.backbone.to(device)
    move_process_to(device, model.graph, noise)


def move_process_to(device: torch.device | str, graph: Graph, noise: Noise) -> None:
    """Move a graph and a noise schedule to the `float64_device` of a device, in place.

    Args:
        device: The device of the network.
        graph: The graph.
        noise: The noise schedule.
    """
    graph.to(float64_device(device))
    noise.to(float64_device(device))
