"""Features of sequences in which no state has changed since the last network call."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..errors import UserError
from ..model.score import ScoreModel
from ..stages import Backbone, NoiseLevel, SamplerStats


def cached(model: ScoreModel, stats: SamplerStats) -> ScoreModel:
    """The model, whose network is called only for sequences whose states changed since its last call.

    The head runs at every call: scores that depend on the noise level stay exact, with any graph, head and sampler.

    Args:
        model: The model.
        stats: Statistics that count the sequences that needed no network call.

    Raises:
        UserError: The features of the network depend on the noise level.
    """
    if model.backbone.reads_noise:
        raise UserError(
            f"cache=true needs a network that is not given the noise level, which {type(model.backbone).__name__} is: "
            "its features change in every step. Leave cache unset, or choose a model with model.reads=nothing."
        )
    return ScoreModel(_Cached(model.backbone, stats), model.graph, model.head)


class _Cached(Backbone):
    """A backbone that keeps the features of its last call."""

    def __init__(self, backbone: Backbone, stats: SamplerStats) -> None:
        super().__init__()
        self.backbone, self.stats = backbone, stats
        self.kept: tuple[Any, ...] = ()

    @property
    def head(self) -> nn.Linear:
        return self.backbone.head

    def logits(self, features: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape S"]:
        return self.backbone.logits(features)

    def forward(self, x: Int64[Tensor, "B L"], level: NoiseLevel, cond: Tensor | None = None) -> Float[Tensor, "B L D"]:
        before, features, given = self.kept or (None, None, None)
        if before is None or features is None or before.shape != x.shape or given is not cond:
            features = self.backbone(x, level, cond)
        else:
            changed = (before != x).any(-1)
            rows = changed.nonzero()[:, 0]
            self.stats.reused += len(x) - len(rows)
            if len(rows):
                own = None if cond is None else cond[rows]
                features = features.index_copy(0, rows, self.backbone(x[rows], level.pick(rows), own))
        self.kept = (x.clone(), features, cond)
        return features
