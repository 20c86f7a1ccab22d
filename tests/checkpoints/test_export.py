"""Export: model card, atomic writing, no private paths."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sedd_core import UserError
from sedd_core.checkpoints.export import export, main
from sedd_core.files import digest
from sedd_core.record import Node, Record
from sedd_core.text.codec import Codec
from sedd_core.text.hub import without_folders
from tests.support.exports import ABSORB, BOUND, LOGLINEAR, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", ABSORB, LOGLINEAR, True)


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
    assert (usage.returncode, "export CHECKPOINT FOLDER" in usage.stderr) == (1, True)


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
