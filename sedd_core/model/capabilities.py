"""What a network is asked for that not every network or graph can do."""

from __future__ import annotations

from ..errors import UserError
from ..stages.backbone import Backbone, DocumentBackbone
from ..stages.graph import Graph


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


def check_takes_blocks(graph: Graph) -> None:
    """Check that blocks can be denoised one after another on a graph.

    Args:
        graph: Forward process.

    Raises:
        UserError: It does more than mask, so that its bound has terms whose network is not told the clean tokens.
    """
    if graph.mask is None or graph.prior_law()[graph.mask] != 1:
        raise UserError(
            "model.block_size needs a graph that only masks: set graph=absorb, or model.block_size=0 for one block."
        )
