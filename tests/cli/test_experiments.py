"""Where experiment files may lie, and what they may import."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sedd_core import UserError
from sedd_core.cli.experiment import load_experiment, named_sizes

ROOT = Path(__file__).parents[2]
BASE = "from experiments.quickstart import config as base\n"
LONGER = "\n\ndef config():\n    run = base()\n    run.training.steps = 3\n    return run\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within an empty folder that is first on the import path, before the repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path, str(ROOT)])
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("mine", "experiment_mine")]:
        del sys.modules[name]


def write(file: str, source: str) -> str:
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text(source)
    return file


def test_a_folder_named_like_the_repositorys() -> None:
    """`experiments` means the repository's package; a file in a folder of that name elsewhere still loads."""
    file = write("experiments/mine.py", BASE + LONGER)
    assert load_experiment(file).training.steps == 3


def test_a_file_that_another_of_its_name_stands_before(monkeypatch: pytest.MonkeyPatch) -> None:
    write("first/mine.py", "raise RuntimeError('the wrong file')\n")
    file = write("second/mine.py", BASE + LONGER)
    monkeypatch.setattr(sys, "path", [str(Path("first").resolve()), str(Path("second").resolve()), *sys.path])
    assert load_experiment(file).training.steps == 3


def test_experiments_of_a_folder_import_each_other() -> None:
    write("mine/base.py", BASE + LONGER)
    file = write("mine/derived.py", "from mine.base import config\n")
    assert load_experiment(file).training.steps == 3


def test_named_sizes_are_those_beside_the_file_else_the_repositorys(monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(Path(write("mine/far.py", BASE + LONGER)).resolve())
    monkeypatch.chdir(ROOT)
    assert list(named_sizes(file, "model")) == ["tiny", "small", "medium", "xl"]
    Path(file).with_name("models.py").write_text("def huge():\n    pass\n")
    assert list(named_sizes(file, "model")) == ["huge"]


def test_another_function_of_a_file() -> None:
    file = write("mine/two.py", BASE + LONGER.replace("def config", "def longer"))
    assert load_experiment(f"{file}:longer").training.steps == 3


def test_a_dataclass_in_a_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(Path.cwd())])
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass C:\n    x: int\n"
    )
    file = write("alone/mine.py", source + BASE + LONGER)
    assert load_experiment(file).training.steps == 3


@pytest.mark.parametrize("name", ["quickstart", "quikstart.py", "experiments/quikstart.py"])
def test_a_missing_file_lists_the_experiments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(
        UserError,
        match=r"Did you mean '.*experiments/quickstart.py'\? Experiments in experiments: absorb_1b.py, absorb_medium.py",
    ):
        load_experiment(name)


@pytest.mark.slow
def test_the_program_from_another_folder() -> None:
    write("mine/base.py", BASE + LONGER)
    file = write("mine/derived.py", "from mine.base import config\n")
    command = [sys.executable, str(ROOT / "launch.py"), f"--fdl_config={file}", "--dry_run"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "mine/base.py:6" in result.stdout


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("from sedd_core.runs.settings import Training", "import its names from sedd_core.training"),
        ("from sedd_core.score import ScoreHead", 'ScoreHead is a plugin now: head=stage("head_score")'),
        ("from sedd_core.model import ScoreHead", 'it is a plugin now: head=stage("head_score")'),
    ],
)
def test_an_experiment_of_version_0_1_is_told_the_new_names(line: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(f"{line}\n")
    with pytest.raises(UserError, match=re.escape(words)):
        load_experiment(str(tmp_path / "old.py"))
