"""Training without conditions now and then."""

from __future__ import annotations

import pytest
import torch
from head_score import ScoreHead
from objective_score_entropy import ScoreEntropy
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.data.sequences import PackedSequences
from sedd_core.model.score import ScoreModel
from sedd_core.stages import Batch, Sequences
from sedd_core.training.settings import Optimizer, Training
from sedd_core.training.trainer import Trainer


class Labelled(Sequences):
    """Sequences of one label each, or of none."""

    def __init__(self, label: int | None) -> None:
        self.inner, self.label = PackedSequences(torch.arange(4).repeat(200), 8), label

    def __len__(self) -> int:
        return len(self.inner)

    def batch(self, indices: Tensor) -> Batch:
        cond = None if self.label is None else torch.full_like(indices, self.label)
        return self.inner.batch(indices)._replace(cond=cond)


def labels_seen(share: float, label: int | None = 1, classes: int = 3, accum: int = 1) -> Tensor:
    """The labels that the network is given in three updates."""
    process, seen = plugin("graph_absorb")(vocab_size=4), list[Tensor]()
    network = plugin("model_ddit")(
        num_states=5, hidden_size=8, n_blocks=1, n_heads=2, cond_dim=4, dropout=0.0, num_classes=classes
    )
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[2]))
    training = Training(steps=3, batch_size=64, accum=accum, label_dropout=share)
    model = ScoreModel(network, process, ScoreHead())
    noise = plugin("noise_loglinear")()
    trainer = Trainer(model, noise, ScoreEntropy(), Labelled(label), Optimizer(), training, seed=0)
    for step in range(3):
        trainer.step(step)
    return torch.cat(seen)


def test_a_share_of_the_sequences_is_of_no_class() -> None:
    """The same sequences in any division into microbatches, others in every update."""
    seen = labels_seen(0.25)
    assert set(seen.tolist()) == {1, 3}
    assert abs((seen == 3).double().mean().item() - 0.25) < 5 * (0.25 * 0.75 / len(seen)) ** 0.5
    first, second, _ = (seen == 3).view(3, 64)
    assert not torch.equal(first, second)
    halves = labels_seen(0.25, accum=2).view(3, 2, 32)
    assert torch.equal(halves.mT.reshape(3, 64), seen.view(3, 64))  # microbatches are strided
    assert (labels_seen(0.0) == 1).all()


def test_what_has_no_conditions_is_refused() -> None:
    with pytest.raises(UserError, match="needs data with conditions"):
        labels_seen(0.1, label=None)
    with pytest.raises(UserError, match="DDiT has no condition that stands for none"):
        labels_seen(0.1, classes=0)
    with pytest.raises(ValueError, match="label_dropout must lie in"):
        Training(steps=1, batch_size=1, label_dropout=1.0)
