"""Export to the published layout: bit-identical model, model card, atomic writing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sedd_core import UserError, load_model
from sedd_core.checkpoints import published
from sedd_core.checkpoints.export import export, main
from sedd_core.checkpoints.load import load_checkpoint
from sedd_core.checkpoints.published import trained_length
from sedd_core.files import digest
from sedd_core.record import Node, Record
from sedd_core.stages import NoiseLevel
from sedd_core.text.codec import Codec
from sedd_core.text.hub import without_folders
from tests.support.exports import ABSORB, BOUND, LOGLINEAR, write_run
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
    ours, theirs = (
        json.loads((f / "config.json").read_text()) for f in (tmp_path / "copy", GOLDEN / "models" / name)
    )
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


def test_the_card_contains_the_facts_of_the_record(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "my-model")
    card = (tmp_path / "my-model" / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "sedd-core",
        "tags": ["sedd", "discrete-diffusion", "text-generation"],
    }
    for words in (
        "# my-model",
        "`graph_absorb(vocab_size=5)`",
        "6: 5 tokens and a mask",
        "`data_text(length=4, tokenizer='bpe')`",
        "`Training(steps=7, batch_size=32)`",
        "1a86750 with changes",
        "averaged over training",
        'load_model("my-model")',
        "--checkpoint=my-model`",
        BOUND,
    ):
        assert words in body, words
    assert "secret" not in card


def test_the_bound_of_other_weights_is_omitted(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "last", ema=False)
    (run / "checkpoints" / "step_000000007").rename(run / "checkpoints" / "step_000000006")
    export(run / "checkpoints" / "step_000000006", tmp_path / "earlier")
    for name in ("last", "earlier"):
        assert "bound" not in (tmp_path / name / "README.md").read_text()


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


def test_a_plugin_that_the_layout_does_not_support(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(published.SUPPORTED, "graph_absorb")
    with pytest.raises(UserError, match="does not support the graph graph_absorb; it supports graph_uniform"):
        export(run, tmp_path / "export")


def test_a_folder_that_is_not_empty_is_not_changed(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    export(run, target)  # an empty folder is accepted
    before = (target / "README.md").stat().st_mtime_ns
    file = tmp_path / "file"
    file.write_text("")
    for path in (target, file):
        with pytest.raises(UserError, match="exists and is not an empty folder"):
            export(run, path)
    assert (target / "README.md").stat().st_mtime_ns == before


def test_a_failed_export_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Codec, "save", full)
    with pytest.raises(UserError, match="No space left"):
        export(run, tmp_path / "export")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(str(run), str(tmp_path / "export")) == 0
    assert "add a license" in capsys.readouterr().out
    command = [sys.executable, "-m", "sedd_core", "export", str(tmp_path / "nothing"), str(tmp_path / "other")]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
    usage = subprocess.run([sys.executable, "-m", "sedd_core", "export", "x"], capture_output=True, text=True)
    assert (usage.returncode, "export RUN FOLDER" in usage.stderr) == (1, True)


def test_no_path_of_this_machine_is_exported(run: Path, tmp_path: Path) -> None:
    """No exported file contains a path of the data, the tokenizer, or the checkpoint itself."""
    step = run / "checkpoints" / "step_000000007"
    record = Record.read(step / "config.json")
    paths = (str(tmp_path / "books" / "one.txt"), "../private/two.txt.gz", "~/elsewhere/three.txt")
    tokenizer = str(tmp_path / "tokenizer.json")
    data = {"length": 4, "paths": paths, "valid_paths": ("private/four.txt",), "tokenizer": tokenizer}
    record.run.args["data"] = Node("plugin", "data_text", data)
    record.run.args["optimizer"] = Node("file", "Mine", file=str(tmp_path / "mine.py"), sha256="0")
    record.run.args["init_from"] = str(tmp_path / "before")
    record.command = f"launch.py {tmp_path}"
    record.write(step / "config.json")
    sums = [line for line in (step / "sha256").read_text().splitlines() if "config.json" not in line]
    (step / "sha256").write_text("\n".join([*sums, f"{digest(step / 'config.json')}  config.json"]) + "\n")
    export(step, tmp_path / "export")
    for file in (tmp_path / "export").iterdir():
        content = file.read_bytes()
        for private in (str(tmp_path), "private", "elsewhere", "books", "before"):
            assert private.encode() not in content, (file, private)
    card = (tmp_path / "export" / "README.md").read_text()
    assert "paths=('one.txt', 'two.txt.gz', 'three.txt'), valid_paths=('four.txt',)" in card
    assert "tokenizer='tokenizer.json'" in card


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("louaaron/sedd-small", "louaaron/sedd-small"),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B"),
        ("gpt2", "gpt2"),
        ("bpe", "bpe"),
        ("/home/me/run/", "run"),
        ("C:\\me\\text.txt", "text.txt"),
        ("runs/quickstart/20260101-000000", "20260101-000000"),
        ("mine/text.txt", "text.txt"),
        ("here/run", "run"),
    ],
)
def test_a_path_without_folders(path: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert without_folders(path) == name


def test_an_existing_temporary_folder_is_not_changed(run: Path, tmp_path: Path) -> None:
    staging = tmp_path / "export.tmp"
    staging.mkdir()
    (staging / "work").touch()
    with pytest.raises(UserError, match=r"export\.tmp, the temporary folder of the export, exists"):
        export(run, tmp_path / "export")
    assert (staging / "work").exists()


def test_permissions_follow_the_umask(run: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        export(run, tmp_path / "export")
        write_run(tmp_path / "other", ABSORB, LOGLINEAR, True)
    finally:
        os.umask(before)
    for folder in (tmp_path / "export", tmp_path / "other" / "checkpoints" / "step_000000007"):
        assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {
            path.name: "0o640" for path in folder.iterdir()
        }
        assert folder.stat().st_mode & 0o777 == 0o750
