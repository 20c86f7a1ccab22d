"""Unreadable files and folders are reported as such: not as missing or damaged, and without a traceback."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sedd_core import UserError, checkpoints, load_model, plugin
from sedd_core.checkpoints.export import export
from sedd_core.cli.main import main
from sedd_core.data.cache import content_hash
from sedd_core.files import check_readable
from sedd_core.record.record import Record
from sedd_core.sampling.prompts import read_prompts
from sedd_core.text.builtin import byte_codec
from sedd_core.text.tokenizer import read_tokenizer
from sedd_core.trajectory import Trajectory
from tests.support.exports import ABSORB, LOGLINEAR, write_run
from tests.support.golden_figures import GOLDEN

NOBODY = 65534
STEP = "run/checkpoints/step_000000007"
SAMPLE = Path(__file__).parents[1] / "experiments" / "sample.py"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Files to read, in a folder that all users may enter; pytest's own folders are private to their owner."""
    above = Path(tempfile.mkdtemp())
    above.chmod(0o755)
    folder = above / "all"
    folder.mkdir()
    write_run(folder / "run", ABSORB, LOGLINEAR, True)
    shutil.copy(folder / STEP / "config.json", folder / "run" / "config.json")
    shutil.copytree(GOLDEN / "models" / "absorb_scaled", folder / "published")
    ended = byte_codec()
    ended.tokenizer.add_special_tokens(["<|endoftext|>"])
    ended.save(folder / "tokenizer.json")
    (folder / "a.txt").write_text("some words\nand a line\n")
    yield folder
    shutil.rmtree(above)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within: a file or folder is unreadable; a process of root runs as the user nobody."""
    mode = path.stat().st_mode
    path.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(NOBODY)
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(mode)


def text(folder: Path) -> None:
    plugin("data_text")(paths=(str(folder / "a.txt"),), tokenizer="byte", length=4).fingerprint()


def texts(folder: Path) -> None:
    plugin("data_text")(paths=(str(folder / "*.txt"),), tokenizer="byte", length=4).fingerprint()


def text_tokenizer(folder: Path) -> None:
    plugin("data_text")(paths=(str(folder / "a.txt"),), tokenizer=str(folder / "tokenizer.json")).fingerprint()


def text8(folder: Path) -> None:
    plugin("data_text8")(path=str(folder / "a.txt")).fingerprint()


def hub(folder: Path, name: str = "*.txt") -> None:
    file = str(folder / name)
    plugin("data_hub")(name="x", train_file=file, valid_file=file, tokenizer="byte").fingerprint()


def hub_name(folder: Path) -> None:
    plugin("data_hub")(name=str(folder / "a.txt"), tokenizer="byte").fingerprint()


def hub_tokenizer(folder: Path) -> None:
    plugin("data_hub")(name="x", tokenizer=str(folder / "tokenizer.json"), vocab=257).codec()


def trajectory(folder: Path) -> None:
    with pytest.raises(UserError) as error:  # the file is not a trajectory
        Trajectory.load(folder / "a.txt")
    if "Permission" in str(error.value):
        raise error.value


READERS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "a run": (
        lambda folder: load_model(folder / "run"),
        (
            "run",
            "run/checkpoints",
            STEP,
            *(f"{STEP}/{name}" for name in ("sha256", "ema.safetensors", "config.json")),
        ),
    ),
    "a checkpoint": (
        lambda folder: load_model(folder / STEP),
        (STEP, *(f"{STEP}/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json"))),
    ),
    "whether a checkpoint is there": (
        lambda folder: checkpoints.check_exists(folder / "run"),
        ("run", "run/checkpoints"),
    ),
    "steps": (lambda folder: checkpoints.steps(folder / "run"), ("run/checkpoints",)),
    "a published model": (
        lambda folder: load_model(folder / "published"),
        ("published", "published/config.json", "published/model.safetensors"),
    ),
    "a model for export": (lambda folder: export(folder / "run", folder / "new" / "export"), ("run", STEP)),
    "a record": (lambda folder: Record.read(folder / STEP / "config.json"), (STEP, f"{STEP}/config.json")),
    "a tokenizer": (lambda folder: read_tokenizer(folder), ("tokenizer.json", ".")),
    "a tokenizer's file": (lambda folder: read_tokenizer(folder / "tokenizer.json"), ("tokenizer.json", ".")),
    "prompts": (lambda folder: read_prompts(folder / "a.txt"), ("a.txt", ".")),
    "a trajectory": (trajectory, ("a.txt", ".")),
    "data of text": (text, ("a.txt", ".")),
    "data of a pattern": (texts, ("a.txt", ".")),
    "a tokenizer of data of text": (text_tokenizer, ("tokenizer.json", ".")),
    "data of text8": (text8, ("a.txt", ".")),
    "data of the hub's kind": (hub, ("a.txt", ".")),
    "data of the hub's kind, one file": (lambda folder: hub(folder, "a.txt"), ("a.txt", ".")),
    "data of the hub's kind, by name": (hub_name, ("a.txt", ".")),
    "a tokenizer of the hub's kind": (hub_tokenizer, ("tokenizer.json", ".")),
    "a folder to hash": (lambda folder: content_hash(folder), ("a.txt", "run", ".")),
}


@pytest.mark.parametrize(("reader", "path"), [(name, path) for name, (_, paths) in READERS.items() for path in paths])
def test_a_reader_says_that_permission_is_denied(reader: str, path: str, folder: Path) -> None:
    read_all, _ = READERS[reader]
    read_all(folder)  # succeeds, and does the imports, which the user nobody may not read
    shutil.rmtree(folder / "new", ignore_errors=True)
    with locked(folder / path), pytest.raises(UserError, match="Permission denied") as error:
        read_all(folder)
    assert str(folder) in str(error.value)
    assert "No such file" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        *((["--fdl_config_file={run}", "--dry_run"], path) for path in (".", "config.json")),
        *((["--run_folder={run}", "--resume", "--dry_run"], path) for path in (".", "config.json")),
        *(([f"--fdl_config={SAMPLE}", "--checkpoint={run}", "--dry_run"], path) for path in (".", "checkpoints")),
    ],
)
def test_the_command_line_says_it_once(
    arguments: list[str], path: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["launch.py", *(argument.format(run=folder / "run") for argument in arguments)]
    main(command)
    capsys.readouterr()
    with locked(folder / "run" / path):
        code = main(command)
    said = capsys.readouterr().err
    assert code == 1
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert "Permission denied" in said


def test_what_is_missing_is_left_to_its_reader(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no", tmp_path / "no" / "no", Path("a\0b")):
        check_readable(path)
    (tmp_path / "file").touch()
    check_readable(tmp_path / "file" / "no")
