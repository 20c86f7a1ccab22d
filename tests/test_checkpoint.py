"""Checkpoints: whole or not at all, enough to sample from, and only ever data."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models

from sedd_core import UserError, checkpoint, load_model, plugin
from sedd_core.codec import Codec
from sedd_core.ema import EMA
from sedd_core.record import Record
from sedd_core.score import ScoreHead, ScoreModel

RUN = {
    "core": "Train",
    "args": {
        "graph": {"plugin": "graph_absorb", "args": {"vocab_size": 5}},
        "noise": {"plugin": "noise_loglinear", "args": {"eps": 0.01}},
        "score": {"core": "ScoreHead", "args": {"scale_by_sigma": True}},
        "model": {
            "plugin": "model_ddit",
            "args": {"num_states": 6, "hidden_size": 16, "n_blocks": 1, "n_heads": 2, "cond_dim": 8, "dropout": 0.0},
        },
    },
}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, ScoreModel, EMA]:
    graph, noise = plugin("graph_absorb")(vocab_size=5), plugin("noise_loglinear")(eps=0.01)
    model = ScoreModel(plugin("model_ddit")(**RUN["args"]["model"]["args"]), graph, ScoreHead())
    ema = EMA(model.parameters(), 0.9)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    ema.update()
    codec = Codec(Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}, unk_token="a")))
    folder = tmp_path / "run" / "checkpoints" / "step_000000001"
    checkpoint.save(folder, model, noise, ema, codec, Record(run=RUN))
    return folder, model, ema


def scores(model: ScoreModel) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([[0, 5, 5, 3]]), torch.tensor([0.7]))


def test_weights_average_and_settings_come_back(saved: tuple[Path, ScoreModel, EMA]) -> None:
    folder, model, ema = saved
    loaded, graph, noise = load_model(folder, ema=False)
    assert torch.equal(scores(loaded), scores(model))
    assert (graph.vocab_size, noise.eps) == (5, 0.01)
    with ema.in_place():
        averaged = scores(model)
    assert torch.equal(scores(load_model(folder.parents[1])[0]), averaged)  # the run folder; averaged by default
    assert not torch.equal(averaged, scores(model))
    assert not list(folder.parent.glob("*.tmp"))


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "config.json", "tokenizer.json"])
def test_damage_is_named(saved: tuple[Path, ScoreModel, EMA], name: str) -> None:
    folder, _, _ = saved
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        load_model(folder)


@pytest.mark.parametrize("name", ["ema.safetensors", "tokenizer.json", "sha256"])
def test_a_missing_file_is_named(saved: tuple[Path, ScoreModel, EMA], name: str) -> None:
    folder, _, _ = saved
    (folder / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        load_model(folder)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    published = tmp_path / "published"
    shutil.copytree(Path(__file__).parent / "golden" / "models" / "absorb_scaled", published)
    config = published / "config.json"
    config.write_text(config.read_text().replace('"n_blocks": 2', '"n_blocks": 3'))
    with pytest.raises(UserError, match="do not fit"):
        load_model(published)


@pytest.mark.parametrize(("make", "match"), [(False, "does not exist"), (True, "holds no checkpoint")])
def test_no_checkpoint(tmp_path: Path, make: bool, match: str) -> None:
    if make:
        (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match=match):
        load_model(tmp_path / "x")


def test_a_failed_write_leaves_nothing(saved: tuple[Path, ScoreModel, EMA], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, model, ema = saved

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Codec, "save", full)
    target = folder.with_name("step_000000002")
    with pytest.raises(UserError, match="No space left"):
        checkpoint.save(
            target, model, plugin("noise_loglinear")(), ema, Codec.load(folder / "tokenizer.json"), Record(run=RUN)
        )
    assert sorted(path.name for path in folder.parent.iterdir()) == ["newest", folder.name]
    load_model(folder)
    load_model(folder.parent / "newest")


@pytest.mark.parametrize(
    ("stage", "node", "words"),
    [
        ("graph", 5, "its run has no 'graph'"),
        ("graph", {"plugin": "noise_loglinear", "args": {}}, "its graph is a LogLinear, not a Graph"),
        ("graph", {"plugin": "graph_absorb", "args": {}}, "graph cannot be made"),
        ("score", {"plugin": "noise_loglinear", "args": {}}, "not a ScoreHead"),
        ("noise", None, "its run has no 'noise'"),
    ],
)
def test_a_record_with_another_thing_in_a_stages_place(
    saved: tuple[Path, ScoreModel, EMA], stage: str, node: object, words: str
) -> None:
    folder, model, ema = saved
    run = {"core": "Train", "args": {**RUN["args"], stage: node}}
    codec, noise = Codec.load(folder / "tokenizer.json"), plugin("noise_loglinear")()
    checkpoint.save(folder.with_name("step_000000002"), model, noise, ema, codec, Record(run=run))
    with pytest.raises(UserError, match=words):
        load_model(folder.with_name("step_000000002"))
