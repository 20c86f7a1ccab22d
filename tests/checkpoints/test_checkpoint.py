"""Checkpoint folders: atomic, sufficient for sampling, and free of code."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from head_score import ScoreHead
from tokenizers import Tokenizer, models

from sedd_core import UserError, checkpoints, load_model, plugin
from sedd_core.files import digest
from sedd_core.model.ema import EMA
from sedd_core.model.score import ScoreModel
from sedd_core.record import Node, Record
from sedd_core.stages import NoiseLevel
from sedd_core.text.codec import Codec

SIZES = {"num_states": 6, "hidden_size": 16, "n_blocks": 1, "n_heads": 2, "cond_dim": 8, "dropout": 0.0}
PARTS = {
    "graph": Node("plugin", "graph_absorb", {"vocab_size": 5}),
    "noise": Node("plugin", "noise_loglinear", {"eps": 0.01}),
    "head": Node("plugin", "head_score", {"scale_by_sigma": True}),
    "model": Node("plugin", "model_ddit", SIZES),
}
RUN = Node("core", "Train", PARTS)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, ScoreModel, EMA]:
    graph, noise = plugin("graph_absorb")(vocab_size=5), plugin("noise_loglinear")(eps=0.01)
    model = ScoreModel(plugin("model_ddit")(**SIZES), graph, ScoreHead())
    ema = EMA(model.parameters(), 0.9)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    ema.update()
    codec = Codec(Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}, unk_token="a")))
    folder = tmp_path / "run" / "checkpoints" / "step_000000001"
    checkpoints.save(folder, model, noise, ema, codec, Record(run=RUN))
    return folder, model, ema


def flip(file: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def scores(model: ScoreModel) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([[0, 5, 5, 3]]), NoiseLevel.of_sigma(torch.tensor([0.7])))


def test_weights_averages_and_settings_are_restored(saved: tuple[Path, ScoreModel, EMA]) -> None:
    folder, model, ema = saved
    loaded, graph, noise = load_model(folder, ema=False)
    assert torch.equal(scores(loaded), scores(model))
    assert (graph.vocab_size, noise.eps) == (5, 0.01)
    with ema.in_place():
        averaged = scores(model)
    assert torch.equal(scores(load_model(folder.parents[1])[0]), averaged)  # run folder; averaged weights by default
    assert not torch.equal(averaged, scores(model))
    assert not list(folder.parent.glob("*.tmp"))


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "config.json", "tokenizer.json"])
def test_damage_is_named(saved: tuple[Path, ScoreModel, EMA], name: str) -> None:
    folder, _, _ = saved
    flip(folder / name)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("remaining", ["none", "the others"])
def test_missing_checksums_do_not_hide_damage(saved: tuple[Path, ScoreModel, EMA], name: str, remaining: str) -> None:
    folder, _, _ = saved
    flip(folder / name)
    lines = (folder / "sha256").read_text().splitlines(keepends=True)
    (folder / "sha256").write_text(
        "".join(line for line in lines if name not in line) if remaining == "the others" else ""
    )
    assert "sha256 is damaged: it has no checksum of" in str(checkpoints.find_damage(folder))
    with pytest.raises(UserError, match="is damaged"):
        load_model(folder)


def test_a_trainers_state_needs_its_checksum(saved: tuple[Path, ScoreModel, EMA]) -> None:
    folder, _, _ = saved
    assert checkpoints.find_damage(folder) is None  # without trainer.pt
    (folder / "trainer.pt").write_bytes(b"state")
    assert "no checksum of trainer.pt" in str(checkpoints.find_damage(folder))


def test_a_checksum_line_cannot_refer_to_a_file_outside_the_folder(
    saved: tuple[Path, ScoreModel, EMA], tmp_path: Path
) -> None:
    folder, _, _ = saved
    (tmp_path / "other").write_text("other")
    with (folder / "sha256").open("a") as file:
        file.write(f"{digest(tmp_path / 'other')}  {tmp_path / 'other'}\n")
    assert f"{folder / 'other'} is damaged or missing" in str(checkpoints.find_damage(folder))


def save_again(folder: Path, model: ScoreModel, ema: EMA) -> None:
    codec = Codec(Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}, unk_token="a")))
    checkpoints.save(folder, model, plugin("noise_loglinear")(eps=0.01), ema, codec, Record(run=RUN))


def test_an_intact_step_is_not_saved_again(
    saved: tuple[Path, ScoreModel, EMA], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model, ema = saved
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}

    def killed(*args: object) -> None:
        raise AssertionError

    (folder.parent / "newest").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", killed)
        save_again(folder, model, ema)
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before
    load_model(folder.parent / "newest")


@pytest.mark.parametrize(("operation", "call"), [("rename", 0), ("rename", 1), ("replace", 0)])
def test_a_damaged_step_is_replaced_and_the_link_never_dangles(
    saved: tuple[Path, ScoreModel, EMA], operation: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is killed at the `call`-th operation on an entry of the checkpoints folder."""
    folder, model, ema = saved
    expected = scores(load_model(folder)[0])
    flip(folder / "model.safetensors")
    original, calls = getattr(os, operation), iter(range(9))

    def killed(old: Path, new: Path) -> None:
        if Path(new).parent == folder.parent and next(calls) == call:
            raise SystemExit
        original(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(os, operation, killed)
        with suppress(SystemExit):
            save_again(folder, model, ema)
    link = folder.parent / "newest"
    assert not link.is_symlink() or link.exists()
    save_again(folder, model, ema)
    assert torch.equal(scores(load_model(link)[0]), expected)


def test_a_damaged_later_step_does_not_count_as_kept(saved: tuple[Path, ScoreModel, EMA]) -> None:
    folder, model, ema = saved
    damaged = folder.with_name("step_000000009")
    save_again(damaged, model, ema)
    flip(damaged / "model.safetensors")
    resumed = folder.with_name("step_000000002")
    save_again(resumed, model, ema)
    checkpoints.prune(folder.parents[1], 2, lambda step: True, 1)
    assert checkpoints.steps(folder.parents[1]) == [damaged, resumed]
    load_model(folder.parent / "newest")
    save_again(folder.with_name("step_000000010"), model, ema)
    checkpoints.prune(folder.parents[1], 10, lambda step: True, 1)
    assert [path.name for path in checkpoints.steps(folder.parents[1])] == ["step_000000010"]


def test_a_checkpoint_renamed_by_an_earlier_version_is_recovered(saved: tuple[Path, ScoreModel, EMA]) -> None:
    folder, _, _ = saved
    run = folder.parents[1]
    folder.rename(folder.with_name(folder.name + ".earlier.tmp"))  # killed after the first rename; `newest` dangles
    checkpoints.recover_renamed(run)
    load_model(run)
    load_model(folder.parent / "newest")
    stale = folder.with_name(folder.name + ".earlier.tmp")
    stale.mkdir()  # killed after the second rename
    checkpoints.recover_renamed(run)
    assert checkpoints.find_damage(folder) is None


@pytest.mark.parametrize("name", ["ema.safetensors", "tokenizer.json", "sha256"])
def test_a_missing_file_is_named(saved: tuple[Path, ScoreModel, EMA], name: str) -> None:
    folder, _, _ = saved
    (folder / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        load_model(folder)


def test_weights_of_another_size_are_rejected(tmp_path: Path) -> None:
    published = tmp_path / "published"
    shutil.copytree(Path(__file__).parents[1] / "golden" / "models" / "absorb_scaled", published)
    config = published / "config.json"
    config.write_text(config.read_text().replace('"n_blocks": 2', '"n_blocks": 3'))
    with pytest.raises(UserError, match="do not fit"):
        load_model(published)


@pytest.mark.parametrize(("make", "match"), [(False, "does not exist"), (True, "contains no checkpoint")])
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
        checkpoints.save(
            target, model, plugin("noise_loglinear")(), ema, Codec.load(folder / "tokenizer.json"), Record(run=RUN)
        )
    assert sorted(path.name for path in folder.parent.iterdir()) == ["newest", folder.name]
    load_model(folder)
    load_model(folder.parent / "newest")


@pytest.mark.parametrize(
    ("stage", "node", "words"),
    [
        ("graph", 5, "its run has no 'graph'"),
        ("graph", Node("plugin", "noise_loglinear"), "its graph is a LogLinear, not a Graph"),
        ("graph", Node("plugin", "graph_absorb"), "graph cannot be made"),
        ("head", Node("plugin", "noise_loglinear"), "not a Head"),
        ("noise", None, "its run has no 'noise'"),
    ],
)
def test_a_record_with_an_invalid_stage(
    saved: tuple[Path, ScoreModel, EMA], stage: str, node: object, words: str
) -> None:
    folder, model, ema = saved
    run = Node("core", "Train", {**PARTS, stage: node})
    codec, noise = Codec.load(folder / "tokenizer.json"), plugin("noise_loglinear")()
    checkpoints.save(folder.with_name("step_000000002"), model, noise, ema, codec, Record(run=run))
    with pytest.raises(UserError, match=words):
        load_model(folder.with_name("step_000000002"))
