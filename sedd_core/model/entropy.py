"""The score entropy of a model's linear head, without the logits of all positions."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from ..maths.linear_entropy import linear_entropy
from ..maths.row_slices import sliced_losses
from ..stages import Backbone, Graph, Head, InterpolatingGraph, NoiseLevel
from ..stages.entropy import linear_form
from ..stages.overrides import of_one_class


def is_linear(backbone: Backbone) -> bool:
    """Whether logits are nothing but the linear head of the features."""
    return type(backbone).logits is Backbone.logits and type(backbone.head) is nn.Linear


def is_closed(head: Head, graph: Graph) -> bool:
    """Whether the score entropy has a closed form in the logits, which loss and gradient need one visit to.

    A subclass that overrides only one of two methods that belong together has none.
    """
    return (
        isinstance(graph, InterpolatingGraph)
        and type(graph).score_entropy is InterpolatingGraph.score_entropy
        and of_one_class(head, "offset", "log_score")
    )


def slower_loss(backbone: Backbone, head: Head, graph: Graph) -> str:
    """How the loss is computed where it has no closed form in the logits, as a sentence; "" if it has."""
    if not is_linear(backbone):
        return f"dense, all logits at once: those of {type(backbone).__name__} are not its linear head's alone"
    if not is_closed(head, graph):
        return f"by slices of rows: {type(head).__name__} on {type(graph).__name__} has no closed form in the logits"
    return ""


def linear_head_entropy(
    features: Float[Tensor, "N D"],
    linear: nn.Linear,
    head: Head,
    graph: Graph,
    x: Int64[Tensor, " N"],
    x0: Int64[Tensor, " N"],
    level: NoiseLevel,
    weight: Float64[Tensor, " N"],
) -> Float64[Tensor, " N"]:
    """`weight` times the score entropy [N] of the rows, in nats; matrix products are in the precision of autocast.

    Args:
        features: Features of the rows.
        linear: Linear map from features to logits.
        head: Map from logits to log-scores.
        graph: Forward process.
        x: Noised states.
        x0: Clean tokens.
        level: Noise level [N].
        weight: Factor of each row.
    """
    device = features.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    offset = head.offset(x, level, graph) if is_closed(head, graph) else None
    if offset is not None and isinstance(graph, InterpolatingGraph):
        form = linear_form(graph, level, x, x0, offset, weight)
        return linear_entropy(features, linear.weight, linear.bias, x, x0, form, graph.components, graph.spans, dtype)

    def losses(logits: Tensor, part: slice) -> Tensor:
        log_score = head.log_score(logits, x[part], level.pick(part), graph)
        return weight[part] * graph.score_entropy(log_score, level.pick(part), x[part], x0[part])

    return sliced_losses(features, linear.weight, linear.bias, losses, dtype)
