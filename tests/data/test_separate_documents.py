"""Several documents in a sequence, kept separate: figures and gradients are those of each document alone."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from objective_score_entropy import ScoreEntropy
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.data import PackedSequences
from sedd_core.evaluation.integrand import held_entropy, log_denoised
from sedd_core.model.score import ScoreModel
from sedd_core.runs.checks import network_keeps_documents_separate
from sedd_core.stages import Backbone, Batch, NoiseLevel
from sedd_core.testing import check_data
from tests.support.runs import TINY, run, weights

LENGTHS = (5, 1, 10)
TOKENS = torch.randint(7, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(1))
DOCUMENTS = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))[None]


def score_model(graph: str) -> ScoreModel:
    process = plugin(graph)(vocab_size=7)
    backbone = plugin("model_ddit")(
        num_states=process.num_states, hidden_size=32, n_blocks=2, n_heads=4, cond_dim=16, dropout=0.0
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.4, generator=generator)
    return ScoreModel(backbone, process, plugin("head_score")())


def pieces(x: Tensor) -> list[tuple[Tensor, Batch]]:
    return [(part, Batch(tokens)) for part, tokens in zip(x.split(LENGTHS, 1), TOKENS.split(LENGTHS, 1), strict=True)]


@pytest.mark.parametrize("graph", ["graph_absorb", "graph_uniform"])
def test_the_loss_of_a_sequence_is_the_sum_over_its_documents(graph: str) -> None:
    model, level = (
        score_model(graph),
        NoiseLevel(*(torch.full((1,), value, dtype=torch.float64) for value in (0.5, 0.7, 1.3))),
    )
    noised = torch.rand(TOKENS.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    x = torch.where(noised, model.graph.num_states - 1, TOKENS)

    def loss(x: Tensor, batch: Batch) -> Tensor:
        return ScoreEntropy().integrand(model, x, level, batch).sum()

    together, joined = loss(x, Batch(TOKENS, documents=DOCUMENTS)), loss(x, Batch(TOKENS))
    apart = torch.stack([loss(*piece) for piece in pieces(x)]).sum()
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=0)
    assert abs(joined - apart) > 1e-3 * apart
    gradients = [torch.autograd.grad(value, tuple(model.parameters())) for value in (together, apart)]
    flat = [torch.cat([part.flatten() for part in found]) for found in gradients]
    assert (flat[0] - flat[1]).norm() < 1e-5 * flat[1].norm()


@pytest.mark.parametrize("term", ["diffusion", "beyond", "reconstruction"])
@torch.no_grad()
def test_each_term_of_the_bound_is_the_sum_over_documents(term: str) -> None:
    model = score_model("graph_absorb" if term == "reconstruction" else "graph_uniform")
    level, end = (NoiseLevel.of_sigma(torch.tensor([sigma], dtype=torch.float64)) for sigma in (0.7, 0.5))
    x = TOKENS.roll(3, 1) if model.graph.mask is None else torch.where(TOKENS > 2, model.graph.mask, TOKENS)

    def value(x: Tensor, batch: Batch) -> Tensor:
        positions = model.graph.reachable(x, level)
        given = batch.cond, batch.documents
        if term == "diffusion":
            return model.score_entropy(x, batch.tokens, level, positions, *given)
        if term == "beyond":
            return held_entropy(model, x, batch.tokens, level, end, positions, *given)
        return log_denoised(model, x, batch.tokens, level, positions, *given)

    apart = torch.stack([value(*piece) for piece in pieces(x)]).sum(0)
    torch.testing.assert_close(value(x, Batch(TOKENS, documents=DOCUMENTS)), apart, rtol=1e-5, atol=0)
    assert not torch.allclose(value(x, Batch(TOKENS)), apart, rtol=1e-3)


def test_sequences_state_the_document_of_each_position() -> None:
    ends = torch.tensor([3, 4, 9, 16, 17])
    sequences = PackedSequences(torch.arange(17), 4, ends)
    documents = sequences.batch(torch.tensor([2, 0, 1, 3])).documents
    assert documents is not None
    assert documents.tolist() == [[0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert sequences.conditioned_on == "boundaries"
    assert PackedSequences(torch.arange(17), 4).batch(torch.tensor([0])).documents is None
    assert PackedSequences(torch.arange(17), 4).conditioned_on == ""


def files(folder: Path) -> dict[str, str]:
    for name, offset in (("train", 0), ("valid", 1000)):
        lines = [f"document {offset + 7 * index} of some" for index in range(60)]
        (folder / f"{name}.txt").write_text("\n".join(lines))
    return {"train_file": str(folder / "train.txt"), "valid_file": str(folder / "valid.txt")}


def test_data_of_separate_documents_keeps_its_contract(tmp_path: Path) -> None:
    settings = {"name": "wikitext2", "tokenizer": "byte", "vocab": 257, "length": 48, **files(tmp_path)}
    make = partial(plugin("data_hub"), **settings, documents="separate")
    check_data(make)
    batch = make().split("train").batch(torch.arange(3))
    ended = batch.tokens[:, :-1] == 256
    assert batch.documents is not None
    assert torch.equal(batch.documents.diff() == 1, ended)
    assert make().fingerprint() == plugin("data_hub")(**settings).fingerprint()  # the cache is the same
    with pytest.raises(ValueError, match="needs packing='packed'"):
        make(packing="document")


class Deaf(Backbone):
    """A network without documents."""

    @property
    def head(self) -> torch.nn.Linear:
        raise NotImplementedError

    def forward(self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None) -> Tensor:
        raise NotImplementedError


def test_a_network_that_joins_documents_is_refused() -> None:
    data = plugin("data_hub")(name="wikitext2", documents="separate")
    with pytest.raises(
        UserError, match=r"Deaf cannot keep documents of a sequence separate: set data.documents=joined"
    ):
        list(network_keeps_documents_separate(data, partial(Deaf)))
    assert not list(network_keeps_documents_separate(data, partial(plugin("model_ddit"))))
    assert not list(network_keeps_documents_separate(plugin("data_hub")(name="wikitext2"), partial(Deaf)))
    model = ScoreModel(Deaf(), plugin("graph_absorb")(vocab_size=7), plugin("head_score")())
    level = NoiseLevel.of_sigma(torch.ones(1))
    with pytest.raises(UserError, match=r"set data\.documents=joined"):
        model.raw(TOKENS, level, TOKENS > 0, documents=DOCUMENTS)


def test_a_run_of_separate_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures say what they are conditional on; how attention is computed may change when the run is resumed."""
    monkeypatch.chdir(tmp_path)
    data = [f"data.{name}={value}" for name, value in files(tmp_path).items()]
    settings = [value for value in TINY if not value.startswith(("data.", "training.steps"))]
    settings += ["data=hub", "data.name=wikitext2", "data.tokenizer=byte", "data.vocab=257", "data.length=48", *data]
    run(*settings, "--run_folder=run", "data.documents=separate", "training.steps=4")
    results = json.loads(Path("run/results.json").read_text())
    assert {figure["set"] for figure in results} == {"valid_given_boundaries"}
    run("--run_folder=run", "--resume", "training.steps=6", "model.activation_checkpointing=true")
    run(*settings, "--run_folder=other", "data.documents=separate", "training.steps=6")
    assert all(torch.equal(value, weights("other")[name]) for name, value in weights("run").items())
