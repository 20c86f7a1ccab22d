"""Records on the command line: run again, and compared; and the texts that must not change by accident."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sedd_core.cli.config import config_of, node_of
from sedd_core.cli.experiment import load
from sedd_core.cli.flags import FLAGS
from sedd_core.cli.main import main
from sedd_core.cli.settings import apply
from sedd_core.record import Record

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(
    path.stem for path in (ROOT / "experiments").glob("*.py") if path.stem not in ("__init__", "models")
)
RESOLVED = Path(__file__).parent / "resolved"


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["launch.py", *arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_config_is_its_node_and_back(name: str) -> None:
    config = load(str(ROOT / "experiments" / f"{name}.py"))
    if name == "sample":
        apply(config, "checkpoint=x")
    assert node_of(config_of(node_of(config))) == node_of(config)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_resolved_values_of_every_experiment(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every value, defaults too. A change is meant: UPDATE=1 make test writes the texts anew, for review."""
    out = said(capsys, f"--fdl_config={ROOT}/experiments/{name}.py", "--print_config")
    text = "".join(f"{line.partition('  # ')[0].rstrip()}\n" for line in out.splitlines())
    file = RESOLVED / f"{name}.txt"
    if os.environ.get("UPDATE"):
        file.write_text(text)
    assert file.read_text() == text


def test_the_flags_are_frozen() -> None:
    assert sorted(FLAGS) == [
        *(
            "allow_changes",
            "checkpoint",
            "dry_run",
            "fdl_config",
            "fdl_config_file",
            "fdl_diff",
            "fdl_help",
            "fdl_set",
        ),
        *(
            "fdl_tags_set",
            "fiddler",
            "h",
            "help",
            "max_restarts",
            "prefix",
            "print_config",
            "print_history",
            "prompt",
        ),
        *("resume", "run_folder", "slurm", "steps", "suffix", "sweep", "trajectory", "trust"),
    ]


def test_a_run_is_run_again_from_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 200)
    settings = ["data.paths=text.txt", "data.tokenizer=char", "data.length=16", "model.hidden_size=16"]
    settings += ["model.n_heads=2", "validation.sequences=4", "validation.points=1", "samples.steps=2"]
    said(
        capsys, f"--fdl_config={ROOT}/experiments/quickstart.py", "--steps=2", *settings, "--run_folder=runs/mine/one"
    )
    said(capsys, "--fdl_config_file=runs/mine/one/config.json", "--run_folder=two")
    one, two = (Record.read(Path(folder) / "config.json") for folder in ("runs/mine/one", "two"))
    assert (one.run, one.data) == (two.run, two.data)
    weights = [
        (Path(folder) / "checkpoints" / "step_000000002" / "model.safetensors").read_bytes()
        for folder in ("runs/mine/one", "two")
    ]
    assert weights[0] == weights[1]

    said(capsys, "--fdl_config_file=two/config.json", "--steps=1", "seed=3", "--run_folder=three")
    out = said(capsys, "--fdl_diff=two/config.json", "three/config.json")
    assert [line.partition("  #")[0] for line in out.splitlines()] == [
        *("- training.steps = 2", "+ training.steps = 1", "- seed = 0", "+ seed = 3"),
    ]
    assert "no difference" in said(capsys, "--fdl_diff=two/config.json", "two/config.json")


def test_two_experiments_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, f"--fdl_diff={ROOT}/experiments/absorb_small.py", f"{ROOT}/experiments/absorb_medium.py")
    assert [line.partition("  #")[0] for line in out.splitlines()] == [
        *("- model.hidden_size = 768", "+ model.hidden_size = 1024"),
        *("- model.n_blocks = 12", "+ model.n_blocks = 24", "- model.n_heads = 12", "+ model.n_heads = 16"),
    ]
    assert "models.py:" in out


MISTAKES = {
    "one thing to compare": (["--fdl_diff=x.py"], "Two things are compared"),
    "both kinds": (["--fdl_config=a.py", "--fdl_config_file=b.json"], "not both"),
    "no record": (["--fdl_config_file=nowhere.json"], "nowhere.json cannot be read: No such file"),
    "a damaged record": (["--fdl_config_file=damaged.json"], "is no record of a run"),
    "a newer record": (["--fdl_config_file=newer.json"], "update it"),
    "an attack": (["--fdl_config_file=attack.json"], "which is no class of a run"),
    "a list": (["--fdl_config_file=list.json"], "cannot be made|is the record of no run|is no record"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_with_records(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    monkeypatch.chdir(tmp_path)
    Path("damaged.json").write_text("{")
    Path("newer.json").write_text('{"format": 99, "run": {}}')
    attack = {"core": "os.system", "args": {"command": "touch owned"}}
    Path("attack.json").write_text(json.dumps({"format": 1, "run": attack}))
    Path("list.json").write_text(json.dumps({"format": 1, "run": {"tuple": [1]}}))
    arguments, words = MISTAKES[mistake]
    error = said(capsys, *arguments, code=1)
    assert re.search(words, error), error
    assert not Path("owned").exists()
