"""Small networks for tests."""

from __future__ import annotations

import torch
from head_score import ScoreHead
from torch import Tensor

from sedd_core import plugin
from sedd_core.model.score import ScoreModel
from sedd_core.stages import Backbone, Graph, InterpolatingGraph, Noise, NoiseLevel
from tests.support.oracles import PAIRS


def network(graph: Graph, seed: int) -> ScoreModel:
    """A small random network."""
    torch.manual_seed(seed % 2**32)
    model = plugin("model_ddit")(
        num_states=graph.num_states, hidden_size=32, n_blocks=1, n_heads=2, cond_dim=16, dropout=0.0
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return ScoreModel(model, graph, ScoreHead(scale_by_sigma=isinstance(graph, InterpolatingGraph))).eval()


def noise_for(graph: str) -> Noise:
    return plugin(f"noise_{PAIRS.get(graph, 'geometric')}")()


class Table(Backbone):
    """The same logits [S] at every position, trained as they are."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.output = torch.nn.Linear(1, len(logits))
        torch.nn.init.zeros_(self.output.weight)
        self.output.bias.data.copy_(logits)

    @property
    def head(self) -> torch.nn.Linear:
        return self.output

    def forward(self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None) -> Tensor:
        return torch.zeros(*x.shape, 1)
