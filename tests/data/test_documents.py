"""Documents of which everything is known: figures are their entropy, with their lengths or given them."""

from __future__ import annotations

import math
from itertools import chain, product

import pytest
import torch
from head_score import ScoreHead
from objective_score_entropy import ScoreEntropy
from torch import Tensor, nn

from sedd_core import plugin
from sedd_core.data.sequences import DocumentSequences, Padding
from sedd_core.evaluation import bound
from sedd_core.maths.draws import Draws
from sedd_core.model.score import ScoreModel
from sedd_core.sampling.sample import sample
from sedd_core.stages import Backbone, FixedTokens
from sedd_core.training.settings import Optimizer, Training
from sedd_core.training.trainer import Trainer

LENGTH, END = 4, 2
DOCUMENTS = [
    [*content, END] for size in range(LENGTH) for content in list(product(range(2), repeat=size)) * (8 // 2**size)
]
"""0 to 3 fair coins, each number as often: an entropy of log 4 + 1.5 log 2 nats for 2.5 tokens."""
WITH_LENGTHS = (math.log(4) + 1.5 * math.log(2)) / 2.5
GIVEN_LENGTHS = 1.5 * math.log(2) / 2.5
NOISE = plugin("noise_loglinear")()


class Exact(Backbone):
    """The law of each masked token given those in sight, over all documents that agree; times the V of scale_by_sigma.

    given: end-of-text tokens in sight at the end were given, so that no masked token is one.
    """

    def __init__(self, sequences: Tensor, given: bool) -> None:
        super().__init__()
        self.sequences, self.given = sequences, given
        self.linear = nn.Linear(END + 2, END + 2)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @property
    def head(self) -> nn.Linear:
        return self.linear

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        masked = x == END + 1
        agrees = (masked[:, None] | (self.sequences == x[:, None])).all(-1)
        if self.given:
            agrees &= ~(masked[:, None] & (self.sequences == END)).any(-1)
        counts = torch.stack([(agrees[..., None] & (self.sequences == v)).sum(1) for v in range(END + 1)], -1)
        logits = (counts / counts.sum(-1, keepdim=True)).clamp(min=1e-30).log() + math.log(END + 1)
        return torch.cat([logits, torch.zeros_like(logits[..., :1])], -1)


def sequences_of(padding: Padding) -> DocumentSequences:
    ends = torch.tensor([len(document) for document in DOCUMENTS]).cumsum(0)
    return DocumentSequences(torch.tensor(list(chain.from_iterable(DOCUMENTS))), ends, LENGTH, padding)


def model_of(padding: Padding) -> ScoreModel:
    tokens = sequences_of(padding).batch(torch.arange(len(DOCUMENTS))).tokens
    graph = plugin("graph_absorb")(vocab_size=END + 1)
    return ScoreModel(Exact(tokens, padding == "conditioned"), graph, ScoreHead(scale_by_sigma=True))


@pytest.mark.parametrize(("padding", "entropy"), [("counted", WITH_LENGTHS), ("conditioned", GIVEN_LENGTHS)])
def test_the_bound_of_exact_scores_is_the_entropy(padding: Padding, entropy: float, seed: int) -> None:
    """Of all documents, 4000 times each: within 5 standard errors, which are under .5 % of it.

    False alarms: 6e-7. Padding in sight and out of the sum makes the figure .942 of the entropy with lengths.
    """
    sequences, copies = sequences_of(padding), 4000
    which = torch.arange(len(DOCUMENTS)).repeat(copies)
    batch, draws = sequences.batch(which), Draws(seed, torch.arange(len(which)))
    parts = bound.terms(model_of(padding), NOISE, batch, draws, points=4, t_min=1e-3)
    result = bound.Bound(parts, batch.full_text_mask().sum(-1), batch.full_text_mask().sum(-1))
    means = result.nats.view(copies, -1).mean(-1) / batch.full_text_mask().double().sum(-1).mean()
    error = means.std() / math.sqrt(copies)
    assert error < 0.005 * entropy
    assert abs(means.mean() - entropy) < 5 * error + 1e-6  # with lengths given, no draw differs: float32 is left
    assert result.per(result.tokens)[0] == pytest.approx(means.mean().item())


class Watching(Exact):
    """Keeps what it is shown."""

    def __init__(self, sequences: Tensor, given: bool) -> None:
        super().__init__(sequences, given)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        self.seen.append(x)
        return super().forward(x, sigma, cond)


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_training_never_noises_what_is_given(graph: str, seed: int) -> None:
    sequences = sequences_of("conditioned")
    batch = sequences.batch(torch.arange(len(DOCUMENTS)))
    process = plugin(f"graph_{graph}")(vocab_size=4 if graph == "uniform" else 3)
    backbone = Watching(batch.tokens, True)
    model = ScoreModel(backbone, process, ScoreHead(scale_by_sigma=False))
    training = Training(steps=1, batch_size=len(DOCUMENTS), precision="fp32")
    trainer = Trainer(model, NOISE, ScoreEntropy(), sequences, Optimizer(), training, seed)
    trainer.forward(batch, Draws(seed, torch.arange(len(DOCUMENTS))), t_min=1e-3)
    given, changed = ~batch.full_loss_mask(), backbone.seen[0] != batch.tokens
    assert given.any()
    assert changed[~given].any()
    assert not changed[given].any()


def test_samples_given_lengths_have_them(seed: int) -> None:
    """The sampler starts from the padding of given documents, and keeps it; contents are coins, never an end."""
    batch = sequences_of("conditioned").batch(torch.arange(len(DOCUMENTS)))
    drawn = sample(
        model_of("conditioned"),
        NOISE,
        plugin("sampler_analytic")(),
        **{"count": len(DOCUMENTS), "length": LENGTH, "steps": 4, "t_min": 1e-5, "seed": seed, "batch_size": 32},
        fixed_tokens=FixedTokens(batch.tokens, ~batch.full_loss_mask()),
    )
    assert torch.equal(drawn == END, batch.tokens == END)


def test_samples_with_lengths_end_properly(seed: int) -> None:
    """One end, and after it nothing else; in the limit of many steps, as absorb's exact scores have it."""
    drawn = sample(
        model_of("counted"),
        NOISE,
        plugin("sampler_analytic")(),
        **{"count": 200, "length": LENGTH, "steps": 512, "t_min": 1e-5, "seed": seed, "batch_size": 200},
    )
    ends = drawn == END
    proper = (ends.int().cummax(-1).values == ends.int()).all(-1) & ends[:, -1]
    assert proper.double().mean() > 0.9
