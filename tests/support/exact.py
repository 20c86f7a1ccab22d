"""A score network that has exact scores, for estimates whose truth is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sedd_core.stages import Graph, NoiseLevel, ScoreFunction


class ExactNetwork:
    """The network of a score function: see `ScoreNetwork`."""

    backbone: Any = None
    head: Any = None

    def __init__(self, graph: Graph, score: ScoreFunction) -> None:
        self.graph, self.score = graph, score

    def __call__(
        self, x: Tensor, level: NoiseLevel, positions: Tensor | None = None, cond: Any = None, documents: Any = None
    ) -> Tensor:
        return self.score(x, level, positions)

    def raw(self, x: Tensor, level: NoiseLevel, positions: Tensor, cond: Any = None, documents: Any = None) -> Tensor:
        return self.score(x, level, positions)

    def lazy(self, *arguments: Any) -> Any:
        raise NotImplementedError("no sampler calls this network")

    def score_entropy(
        self,
        x: Tensor,
        x0: Tensor,
        level: NoiseLevel,
        positions: Tensor,
        cond: Any = None,
        documents: Any = None,
        weight: Any = None,
    ) -> Tensor:
        entropy = self.graph.score_entropy(
            self.score(x, level, positions), level.at(x, positions), x[positions], x0[positions]
        )
        return torch.zeros(x.shape, dtype=torch.float64).masked_scatter(positions, entropy).sum(-1)
