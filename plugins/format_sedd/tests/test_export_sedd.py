"""Export to the published layout: the model is bit-identical, and what the layout cannot express is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from format_sedd.published import SUPPORTED

from sedd_core import UserError, load_model
from sedd_core.checkpoints.export import export
from sedd_core.checkpoints.length import trained_length
from sedd_core.checkpoints.load import load_checkpoint
from sedd_core.record import Node
from sedd_core.stages import NoiseLevel
from tests.support.exports import ABSORB, LOGLINEAR, write_run
from tests.support.golden_figures import GOLDEN, arrays

UNIFORM = Node("plugin", "graph_uniform", {"vocab_size": 5})
GEOMETRIC = Node("plugin", "noise_geometric", {"sigma_max": 7.5})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", ABSORB, LOGLINEAR, True)


def scores(path: Path, **options: Any) -> torch.Tensor:
    x = torch.tensor([[0, 4, 2, 3], [4, 4, 1, 0]])
    with torch.no_grad():
        return load_model(path, **options)[0](x, NoiseLevel.of_sigma(torch.tensor([0.7, 1e-3])))


@pytest.mark.parametrize(
    ("graph", "noise", "scale"), [(ABSORB, LOGLINEAR, True), (ABSORB, GEOMETRIC, False), (UNIFORM, GEOMETRIC, False)]
)
def test_export_and_load_is_the_identity(tmp_path: Path, graph: Node, noise: Node, scale: bool) -> None:
    run = write_run(tmp_path / "run", graph, noise, scale)
    for ema in (True, False):
        folder = tmp_path / f"export_{ema}"
        export(run, folder, ema=ema)
        assert torch.equal(scores(folder), scores(run, ema=ema))
        assert not torch.equal(scores(folder), scores(run, ema=not ema))
    before, after = load_checkpoint(run), load_checkpoint(folder)
    assert (type(after.graph), type(after.noise)) == (type(before.graph), type(before.noise))
    t = torch.linspace(0, 1, 5)
    assert torch.equal(after.noise(t).sigma, before.noise(t).sigma)
    assert after.codec is not None
    assert before.codec is not None
    assert after.codec.encode("d") == before.codec.encode("d") == [3]
    assert trained_length(after.record) == trained_length(before.record) == 4


@pytest.mark.parametrize("name", ["absorb_scaled", "absorb_unscaled", "uniform"])
def test_exporting_a_published_model_reproduces_it(tmp_path: Path, name: str) -> None:
    export(GOLDEN / "models" / name, tmp_path / "copy")
    ours, theirs = (json.loads((f / "config.json").read_text()) for f in (tmp_path / "copy", GOLDEN / "models" / name))
    for part in ("graph", "noise", "model"):
        assert ours[part].items() <= theirs[part].items()
    assert ours["tokens"] == theirs["tokens"]
    golden = arrays(f"forward_{name}")
    first, second = (load_model(f)[0] for f in (tmp_path / "copy", GOLDEN / "models" / name))
    with torch.no_grad():
        x, level = golden["indices"], NoiseLevel.of_sigma(golden["sigma"])
        assert torch.equal(first(x, level), second(x, level))
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    card = (tmp_path / "copy" / "README.md").read_text()
    assert "Training" not in card  # unknown for a published model
    assert "--checkpoint=copy tokenizer=...`" in card


@pytest.mark.parametrize(
    ("graph", "noise", "scale", "words"),
    [
        (ABSORB, Node("plugin", "noise_loglinear", {"eps": 0.01}), True, "noise.eps=0.01"),
        (UNIFORM, GEOMETRIC, True, "scaled by sigma on a graph other than absorb"),
    ],
)
def test_models_that_the_layout_does_not_support(
    tmp_path: Path, graph: Node, noise: Node, scale: bool, words: str
) -> None:
    run = write_run(tmp_path / "run", graph, noise, scale)
    with pytest.raises(UserError, match=words):
        export(run, tmp_path / "export")
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize("reads", ["time", "nothing"])
def test_a_network_that_reads_something_else_than_sigma_is_not_exported(tmp_path: Path, reads: str) -> None:
    """The original's code would feed it sigma."""
    run = write_run(tmp_path / "run", ABSORB, LOGLINEAR, True, reads=reads)
    assert scores(run).isfinite().all()
    with pytest.raises(UserError, match=f"does not support model.reads='{reads}'"):
        export(run, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_a_plugin_that_the_layout_does_not_support(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SUPPORTED, "graph_absorb")
    with pytest.raises(UserError, match="does not support the graph graph_absorb; it supports graph_uniform"):
        export(run, tmp_path / "export")
