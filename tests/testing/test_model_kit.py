"""`check_model` with planted faults: each is found, and the message names the rule."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sedd_core import UserError, plugin
from sedd_core.stages import Backbone, NoiseLevel
from sedd_core.testing import check_model

DDiT = plugin("model_ddit")
SIZES = {"hidden_size": 16, "n_blocks": 1, "n_heads": 2, "cond_dim": 8}
LABELS = torch.tensor([2, 0, 1])


class Sound(DDiT):
    """The network under `change`, which a fault overrides."""

    def forward(
        self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        return self.change(super().forward(x, level, cond, documents), level)

    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return features


class ReadsValues(Sound):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.largest = self.head.weight.max().item()


class OtherOnMeta(Sound):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        if not self.head.weight.is_meta:
            self.register_buffer("extra", torch.zeros(1))


class TooManyStates(Sound):
    def __init__(self, num_states: int, **arguments: Any) -> None:
        super().__init__(num_states=num_states + 1, **arguments)


class LooseHead(Sound):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.loose = [nn.Linear(self.output_layer.linear.in_features, arguments["num_states"])]

    @property
    def head(self) -> nn.Linear:
        return self.loose[0]


class ChangesStates(Sound):
    def forward(
        self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        return super().forward(x.clamp_(max=1), level, cond, documents)


class ChangesLevel(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        level.t.zero_()
        return features


class OnePerSequence(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return features.mean(1)


class Integers(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return features.long()


class NotANumber(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return (-1 - features.abs()).log()


class AlwaysDrops(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return nn.functional.dropout(features)


class Counts(Sound):
    calls = 0

    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        self.calls += 1
        return features + self.calls


class IgnoresLevelsOfPositions(Sound):
    def forward(
        self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        return super().forward(
            x, level if level.sigma.ndim == 1 else NoiseLevel(*(0 * part for part in level)), cond, documents
        )


class OtherShapeOfPositions(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return features if level.sigma.ndim == 1 else features[:, :1]


class DividesBySigma(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return features / level.sigma.mean()


class OverflowsInHalf(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return features / (1 - torch.is_autocast_enabled("cpu"))


class IgnoresConditions(Sound):
    def forward(
        self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        return super().forward(x, level, None, documents)


class JoinsDocuments(Sound):
    def forward(
        self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        return super().forward(x, level, cond)


class CountsAlongTheRow(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return features + torch.arange(features.shape[1])[:, None]


class SplitsWholeRows(Sound):
    def forward(
        self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        features = super().forward(x, level, cond, documents)
        return features if documents is None or documents.any() else 2 * features


class MixesBatch(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return features + features.mean(0)


class BatchNorm(Sound):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.norm = nn.BatchNorm1d(self.head.in_features)

    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return self.norm(features.mT).mT


class KnowsBatchSize(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return features * len(features)


class DropsLogit(Sound):
    def logits(self, features: Tensor) -> Tensor:
        return super().logits(features)[..., :-1]


class CentersLogits(Sound):
    def logits(self, features: Tensor) -> Tensor:
        logits = super().logits(features)
        return logits - logits.mean(0)


class DoublesFew(Sound):
    def logits(self, features: Tensor) -> Tensor:
        logits = super().logits(features)
        return torch.cat([logits, logits]) if features.ndim == 2 else logits


class Unused(Sound):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.unused = nn.Linear(2, 2, bias=False)


class Detached(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return features.detach()


class InfiniteGradient(Sound):
    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return features + (0 * features).abs().sqrt()


class Forgets(Sound):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.constant = torch.randn(self.head.in_features)

    def change(self, features: Tensor, level: NoiseLevel) -> Tensor:
        return features + self.constant


FAULTS = {
    ReadsValues: "constructed on the meta device.*values of tensors that __init__ reads",
    OtherOnMeta: r"state_dict must be the same on the meta device; different: \[\('extra'",
    TooManyStates: "the head must have num_states=7 outputs, not 8",
    LooseHead: "the head must be a module of the backbone",
    ChangesStates: "forward must not change its input x",
    ChangesLevel: "forward must not change its input t",
    OnePerSequence: r"features must have shape \[B, L, D\] = \[3, 6, 16\].*not \[3, 16\]",
    Integers: "features must be floating-point numbers, not torch.int64",
    NotANumber: "288 features are not finite",
    AlwaysDrops: "eval mode must be deterministic, but two calls differ by .*dropout",
    Counts: "eval mode must be deterministic, but two calls differ by .*buffers that forward changes",
    IgnoresLevelsOfPositions: r"levels \[B, L\] that repeat those \[B\] must give the same features; they differ by",
    OtherShapeOfPositions: r"levels \[B, L\] must give features of the shape .*\[3, 6, 16\], not \[3, 1, 16\]",
    DividesBySigma: "features must be finite at any level, but are not at sigma = 0",
    OverflowsInHalf: "logits under autocast to bfloat16 must be finite",
    IgnoresConditions: "a backbone without conditions must raise UserError for cond",
    JoinsDocuments: "a document must have the features that it has in a row of its own, but they differ by",
    CountsAlongTheRow: "a document must have the features .*positions that are not relative",
    SplitsWholeRows: "a row of one document must have the features of the row",
    MixesBatch: r"changing the first changes others by .*\(eval mode\); look for operations along the batch axis",
    BatchNorm: r"changing the first changes others by .*\(train mode\); .*batch norm",
    KnowsBatchSize: "a sequence alone must have its features in a batch, but they differ by",
    DropsLogit: r"logits must have shape \[3, 6, 7\], not \[3, 6, 6\]",
    CentersLogits: "logits must act on each position alone: selecting positions before or after differs by",
    DoublesFew: r"logits of 3 positions must have shape \[3, 7\], not \[6, 7\]",
    Unused: "the gradient must reach every parameter, but not unused.weight: use or remove them",
    Detached: "the gradient must reach every parameter, but not vocab_embed.embedding, .*use or remove them",
    InfiniteGradient: "gradients must be finite, but are not at vocab_embed.embedding",
    Forgets: "with the state_dict of another must be equal to it, but features differ by .*neither parameters nor",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_wrong_model_is_detected(fault: type[Backbone]) -> None:
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_model(partial(fault, **SIZES))


def test_a_model_without_faults_passes_whatever_its_dropout() -> None:
    for dropout in (0.0, 0.5):
        check_model(partial(Sound, **SIZES, dropout=dropout))


class Labeled(Sound):
    """A backbone that insists on labels [B]."""

    insists = True

    def __init__(self, num_states: int, **arguments: Any) -> None:
        super().__init__(num_states=num_states, **arguments)
        self.labels = nn.Embedding(4, self.head.in_features)  # the last is that of no label

    def forward(
        self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        if cond is None and self.insists:
            raise UserError("A label is missing.")
        labels = torch.full_like(x[:, 0], 3) if cond is None else cond
        return super().forward(x, level, None, documents) + self.label(labels)[:, None]

    def label(self, cond: Tensor) -> Tensor:
        return self.labels(cond)


class Optional(Labeled):
    insists = False


class Deaf(Labeled):
    def label(self, cond: Tensor) -> Tensor:
        return self.labels(0 * cond)


class Shared(Labeled):
    def label(self, cond: Tensor) -> Tensor:
        return self.labels(cond[:1].expand(len(cond)))


class ChangesLabels(Labeled):
    def label(self, cond: Tensor) -> Tensor:
        return self.labels(cond.clamp_(max=1))


class Crashes(Labeled):
    def forward(
        self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        return DDiT.forward(self, x, level, None, documents) + self.labels(cond)[:, None]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("sound", [Labeled, Optional])
def test_conditional_models_pass_with_conditions_alone(sound: type[Backbone]) -> None:
    check_model(partial(sound, **SIZES), cond=LABELS)
    with pytest.raises((AssertionError, UserError), match=r"give check_model some|label is missing"):
        check_model(partial(sound, **SIZES))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Deaf, "features must depend on cond"),
        (Shared, r"sequences of a batch must be independent, but changing the first"),
        (ChangesLabels, "forward must not change its input cond"),
        (Crashes, "without cond a backbone must work or raise UserError, not TypeError"),
    ],
)
def test_a_wrong_conditional_model_is_detected(fault: type[Backbone], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_model(partial(fault, **SIZES), cond=LABELS)
