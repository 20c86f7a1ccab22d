"""Conditions reach the network wherever it is called, for a backbone that insists on them and obeys them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from head_score import ScoreHead
from torch import Tensor, nn

from sedd_core import UserError, plugin
from sedd_core.build import trust
from sedd_core.evaluation import bound
from sedd_core.maths.draws import Draws
from sedd_core.model.score import ScoreModel
from sedd_core.sampling.sample import sample
from sedd_core.stages import Backbone, Batch, FixedTokens, NoiseLevel
from tests.support.runs import ROOT, TINY, run, write_text


class Insists(Backbone):
    """Logits of a label [B] at every position: token `label` is far the likeliest. Raises without labels."""

    def __init__(self, num_states: int, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.output = nn.Linear(num_states, num_states, bias=False)
        nn.init.eye_(self.output.weight)

    @property
    def head(self) -> nn.Linear:
        return self.output

    def forward(self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None) -> Tensor:
        if cond is None:
            raise UserError("a label is missing")
        assert cond.shape == x.shape[:1]
        labels = nn.functional.one_hot(cond, self.output.in_features).float()
        return self.strength * labels[:, None].expand(*x.shape, -1)


def conditional(graph: str, strength: float = 12.0) -> ScoreModel:
    process = plugin(f"graph_{graph}")(vocab_size=5)
    return ScoreModel(Insists(process.num_states, strength), process, ScoreHead(scale_by_sigma=graph == "absorb"))


@pytest.mark.parametrize("graph", ["absorb", "uniform", "gidd"])
def test_every_term_of_the_bound_has_the_condition(graph: str, seed: int) -> None:
    """A mixed batch has the terms of its sequences under their own labels, and labels matter wherever a network counts.

    The levels end early, so that noise below and beyond them counts: beyond, the prior term is an integral of the
    held network unless the prior is finite (uniform).
    """
    model, noise = conditional(graph, strength=2.0), plugin("noise_geometric")(sigma_min=0.1, sigma_max=1.5)
    x0, labels = torch.randint(5, (6, 4), generator=torch.Generator().manual_seed(seed)), torch.arange(6) % 5

    def terms(which: Tensor, cond: Tensor | None) -> Tensor:
        batch, draws = Batch(x0[which], None, cond), Draws(seed, which)
        return torch.stack(bound.terms(model, noise, batch, draws, points=4, t_min=0.5))

    mixed = terms(torch.arange(6), labels)
    for index in range(6):
        one = torch.tensor([index])
        torch.testing.assert_close(terms(one, labels[one]), mixed[:, [index]])
    others = terms(torch.arange(6), (labels + 1) % 5)
    assert (others != mixed).any(-1).tolist() == [True, True, graph != "uniform"]
    with pytest.raises(UserError, match="label"):
        terms(torch.arange(6), None)


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
@pytest.mark.parametrize("with_prompt", [False, True])
def test_samples_obey_their_own_condition(graph: str, with_prompt: bool, seed: int) -> None:
    """Whatever the batches and the share of a process, with given tokens and without."""
    labels = torch.tensor([0, 3, 1, 4, 2, 2, 0])
    where = torch.tensor([True, False, False]).expand(7, -1)
    given = FixedTokens(torch.full((7, 3), 1), where) if with_prompt else None

    def draw(batch_size: int, which: Tensor | None = None) -> Tensor:
        return sample(
            conditional(graph), plugin("noise_geometric")(), plugin("sampler_analytic")(), count=7, length=3, steps=8,
            t_min=1e-3, seed=seed, batch_size=batch_size, which=which, fixed_tokens=given, cond=labels,
        )  # fmt: skip

    whole = draw(7)
    assert torch.equal(whole[:, 1:], labels[:, None].expand(-1, 2))
    assert torch.equal(draw(3), whole)
    assert torch.equal(draw(2, torch.tensor([1, 4, 6])), whole[[1, 4, 6]])


MINE = """
import fiddle as fdl
import torch
from torch import nn
from experiments.quickstart import config as quickstart
from sedd_core import UserError, plugin
from sedd_core.stages import Backbone, Sequences

class Labelled(Sequences):
    def __init__(self, inner):
        self.inner = inner
    def __len__(self):
        return len(self.inner)
    def batch(self, indices):
        batch = self.inner.batch(indices)
        return batch._replace(cond=batch.tokens[:, 0])

class Blind(Labelled):
    def batch(self, indices):
        batch = super().batch(indices)
        return batch._replace(cond=torch.ones_like(batch.cond))

class Text(plugin("data_text")):
    '''Its sequences are labeled by their first tokens.'''
    def split(self, name):
        return Labelled(super().split(name))

class BlindText(plugin("data_text")):
    '''All its sequences have the same label.'''
    def split(self, name):
        return Blind(super().split(name))

class Insists(Backbone):
    '''Features of tokens and of a label, without which it raises.'''
    seen = []
    def __init__(self, *, num_states: int, width: int = 16) -> None:
        super().__init__()
        self.tokens, self.labels = nn.Embedding(num_states, width), nn.Embedding(num_states, width)
        self.output = nn.Linear(width, num_states)
    @property
    def head(self):
        return self.output
    def forward(self, x, level, cond=None):
        if cond is None or cond.shape != x.shape[:1]:
            raise UserError("a label is missing")
        self.seen.append((x.shape[0], cond.tolist()))
        return self.tokens(x) + self.labels(cond)[:, None]

def config():
    run = quickstart()
    run.data = fdl.Config(Text, paths=("text.txt",), tokenizer="char", length=16)
    run.model = fdl.Partial(Insists)
    return run

def blind():
    run = config()
    run.data = fdl.Config(BlindText, paths=("text.txt",), tokenizer="char", length=16)
    return run
"""
LEARNING = ("optimizer.lr=0.1", "training.steps=60", "training.accum=2", "training.eval_every=60")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    for name, empty in (("_folders", set()), ("_modules", {}), ("_import", [])):
        monkeypatch.setattr(trust, name, empty)
    write_text(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    return "--fdl_config=mine.py"


def test_a_whole_run_and_its_samples_have_conditions(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Training, both terms of snapshots, samples of snapshots under the labels of validation sequences, `Sample`."""
    settings = [setting for setting in TINY[1:] if not setting.startswith(("model.", "data."))]
    run(mine, *settings, "graph=uniform", "head.scale_by_sigma=false", "samples.count=3", "--run_folder=run")
    module = next(module for name, module in sys.modules.items() if name.endswith("mine") and hasattr(module, "Text"))
    valid = module.Text(paths=("text.txt",), tokenizer="char", length=16).split("valid")
    labels = valid.batch(torch.arange(3)).cond.tolist()
    assert (3, labels) in module.Insists.seen

    common = [f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "--checkpoint=run", "steps=4", "count=3"]
    module.Insists.seen.clear()
    run(*common, "cond=2", "format=ids", "--run_folder=two", "--trust")
    assert module.Insists.seen == [(3, [2, 2, 2])] * 5
    run(*common, "cond=5", "format=ids", "--run_folder=five", "--trust")
    two, five = (np.load(Path(folder, "samples.npy")) for folder in ("two", "five"))
    assert (two != five).any()
    run(*common, "--run_folder=none", "--trust", code=1)
    assert "a label is missing" in capsys.readouterr().err


@pytest.mark.parametrize("labels", ["config", "blind"])
def test_a_network_learns_from_its_conditions_and_obeys_them(mine: str, labels: str) -> None:
    """Each sequence repeats one of four letters, which nothing but its label tells a network without context.

    With labels the bound tends to 0 and samples of a label repeat its letter; without, to log 4 per token.
    """
    letters = np.random.default_rng(0).integers(4, size=400)
    Path("text.txt").write_text("".join(16 * "abcd"[letter] for letter in letters))
    settings = [setting for setting in TINY[1:] if not setting.startswith(("model.", "data.", "training.steps"))]
    run(f"{mine}:{labels}", *settings, *LEARNING, "--run_folder=run")
    results = json.loads(Path("run", "results.json").read_text())
    nats = next(figure["value"] for figure in results if figure["unit"] == "nats/token")
    assert nats < 0.1 if labels == "config" else nats > 1

    common = (f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "--checkpoint=run", "count=3", "--trust")
    for label in (1, 2, 3, 4) if labels == "config" else ():
        run(*common, f"cond={label}", "steps=16", "format=ids", f"--run_folder={label}")
        assert (np.load(Path(str(label), "samples.npy")) == label).mean() > 0.95


def test_a_condition_for_a_network_that_takes_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path)
    run(*TINY, "training.steps=1", "--run_folder=run")
    common = [f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "--checkpoint=run"]
    run(*common, "cond=2", "--run_folder=out", code=1)
    assert "model_ddit takes no condition" in capsys.readouterr().err
