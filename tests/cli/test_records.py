"""Records on the command line: run again, and compared; and the texts that must not change by accident."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sedd_core.build import trust
from sedd_core.cli.config import config_of, node_of
from sedd_core.cli.experiment import load_config, name_of_run
from sedd_core.cli.flags import FLAGS
from sedd_core.cli.main import main
from sedd_core.cli.settings import apply
from sedd_core.record.record import Record
from tests.support.attacks import ATTACKS

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
    config = load_config(str(ROOT / "experiments" / f"{name}.py"))
    if name in ("sample", "evaluate", "generative"):
        apply(config, "checkpoint=x")
    if name == "generative":
        apply(config, "evaluator.judge=y")
    assert node_of(config_of(node_of(config))) == node_of(config)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_resolved_values_of_every_experiment(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every value, including defaults. After an intended change, UPDATE=1 make test rewrites the files for review."""
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
            "checkpoint_format",
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
            "no_checks",
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
    settings += ["model.n_heads=2", "evaluator.sequences=4", "evaluator.points=1", "samples.steps=2"]
    said(capsys, f"--fdl_config={ROOT}/experiments/quickstart.py", "--steps=2", *settings, "--run_folder=runs/mine/one")
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
        *("- training.microbatch = 32", "+ training.microbatch = 16"),
    ]
    assert "models.py:" in out


def test_a_record_is_named_by_its_folder_and_may_get_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Late-bound values follow from the data and graph, so they do not conflict with other choices of these."""
    monkeypatch.chdir(tmp_path)
    node = node_of(load_config(f"{ROOT}/experiments/quickstart.py"))
    node.args["graph"].args["vocab_size"], node.args["model"].args["num_states"] = 1024, 1025
    Path("run").mkdir()
    Record(run=node).write(Path("run/config.json"))
    out = said(capsys, "--fdl_config_file=run", "graph=uniform", "data.vocab=2048", "--dry_run")
    assert "states   2048: 2048 tokens" in out
    assert "states   1025: 1024 tokens and a mask" in said(capsys, "--fdl_config_file=run", "--dry_run")
    assert "graph.vocab_size is 7" in said(capsys, "--fdl_config_file=run", "graph.vocab_size=7", "--dry_run", code=1)
    out = said(capsys, f"--fdl_diff={ROOT}/experiments/quickstart.py", "run")
    assert "+ graph.vocab_size = 1024  # run/config.json" in out


MISTAKES = {
    "one thing to compare": (["--fdl_diff=x.py"], "--fdl_diff compares two configs"),
    "a setting to compare": (["--fdl_diff=a.py", "b.py", "--fdl_set=seed=1"], "--fdl_diff compares two configs"),
    "words to compare": (["--fdl_diff=nonsense", "b.py"], "nonsense does not exist"),
    "an experiment for a record": (["--fdl_config_file=a.py"], "a.py is not a record.*its folder"),
    "a sweep of a record": (
        ["--fdl_config_file=attack.json", "--sweep=hot"],
        "is a record, which has no functions: hot",
    ),
    "a format that is not a number": (
        ["--fdl_config_file=format.json"],
        "is not a record of a run: its 'format' is True",
    ),
    "a str that UTF-8 cannot encode": (["--fdl_config_file=surrogate.json"], "is not a record of a run"),
    "bytes that are no text": (["--fdl_config_file=bytes.json"], "is not a record of a run: 'utf-8' codec"),
    "a class of a file": (["--fdl_config_file=file.json"], "which is code.*--trust"),
    "the same trusted, and not the file": (["--fdl_config_file=file.json", "--trust"], "has changed since"),
    "both kinds": (["--fdl_config=a.py", "--fdl_config_file=b.json"], "not both"),
    "no record": (["--fdl_config_file=nowhere.json"], "nowhere.json cannot be read: No such file"),
    "a damaged record": (["--fdl_config_file=damaged.json"], "is not a record of a run"),
    "a newer record": (["--fdl_config_file=newer.json"], "update it"),
    "an attack": (["--fdl_config_file=attack.json"], "which is not a class of a run"),
    "a list": (["--fdl_config_file=list.json"], "cannot be made|is not a record"),
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
    Path("format.json").write_text('{"format": true, "run": {}}')
    Path("surrogate.json").write_text(json.dumps({"format": 1, "run": {}, "command": "\ud800"}))
    Path("bytes.json").write_bytes(b'{"format": 1, "run": {}, "command": "\xff"}')
    Path("mine.py").write_text("open('owned', 'w')")
    mine = {"file": "mine.py", "sha256": "0" * 64, "class": "Noise", "args": {}}
    Path("file.json").write_text(json.dumps({"format": 1, "run": mine}))
    monkeypatch.setattr(trust, "_import", [])
    arguments, words = MISTAKES[mistake]
    error = said(capsys, *arguments, code=1)
    assert re.search(words, error), error
    assert not Path("owned").exists()


@pytest.mark.parametrize("node", ATTACKS, ids=lambda node: json.dumps(node)[:50])
@pytest.mark.parametrize("place", ["the run", "noise", "seed", "an item of a tuple"])
def test_an_attack_from_the_command_line_builds_nothing(
    node: object,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = node_of(load_config(f"{ROOT}/experiments/quickstart.py")).to_json()
    if place == "an item of a tuple":
        whole["args"]["data"]["args"]["paths"] = {"tuple": ["a", node]}
    else:
        whole["args"][place] = node
    Path("config.json").write_text(json.dumps({"format": 1, "run": node if place == "the run" else whole}))
    assert said(capsys, "--fdl_config_file=config.json", "--dry_run", code=1).startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    "arguments", [["--fdl_help"], ["model=medium", "--dry_run"], ["--fiddler=medium"], ["--sweep=medium"]]
)
def test_what_lies_beside_a_record_is_not_run(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of unknown origin may contain files that would be executed beside an experiment."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    for name in ("models", "noises", "graphs", "datas", "samplers", "monitors", "config", "conftest"):
        Path(f"run/{name}.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\ndef medium(*a): pass\n")
    Record(run=node_of(load_config(f"{ROOT}/experiments/quickstart.py"))).write(Path("run/config.json"))
    said(capsys, "--fdl_config_file=run", *arguments, code=0 if arguments == ["--fdl_help"] else 1)
    assert not Path("owned").exists()


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("experiments/quickstart.py:config(x=1)", "quickstart"),
        ("runs/quickstart/20261125-180738/config.json", "quickstart"),
        ("runs/sgd/config.json", "sgd"),
    ],
)
def test_what_a_run_is_called_after(target: str, name: str) -> None:
    assert name_of_run(target) == name
