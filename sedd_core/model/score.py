"""The score model: a backbone whose logits a head converts to log-scores."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ..errors import UserError
from ..maths.numerics import float64_device
from ..stages.backbone import Backbone, DocumentBackbone
from ..stages.graph import Graph
from ..stages.head import Head
from ..stages.network import ScoreNetwork
from ..stages.noise import Noise, NoiseLevel


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
        device = next(self.backbone.parameters(), x).device  # differs from that of x if it has no float64
        inputs = [x.to(device), level.to(torch.float32).to(device), None if cond is None else cond.to(device)]
        if documents is not None:
            check_takes_documents(type(self.backbone))
            inputs.append(documents.to(device))
        features = self.backbone(*inputs)
        logits = self.backbone.logits(features[positions.to(device)]).to(x.device)
        return self.head.log_score(logits, x[positions], level.at(x, positions), self.graph)


def check_takes_documents(backbone: type[Backbone]) -> None:
    """Check that a network can keep documents of a sequence separate.

    Args:
        backbone: Class of the network.

    Raises:
        UserError: It cannot.
    """
    if not issubclass(backbone, DocumentBackbone):
        raise UserError(
            f"The network {backbone.__name__} cannot keep documents of a sequence separate: set data.documents=joined, "
            "or choose a model that can (a DocumentBackbone)."
        )


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
