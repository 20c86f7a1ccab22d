"""What an experiment's own file may hold: stages, fiddlers, sweeps; and tags."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sedd_core import UserError
from sedd_core.build import trust
from sedd_core.build.build import build
from sedd_core.checkpoints import load as loading
from sedd_core.checkpoints.export import export
from sedd_core.checkpoints.length import trained_length
from sedd_core.cli.compose import Changes, compose
from sedd_core.cli.main import main
from sedd_core.record import Node, Record

ROOT = Path(__file__).parents[2]
MINE = '''
import fiddle as fdl
from experiments.quickstart import config as quickstart
from data_text import TextFiles
from sedd_core.stages import Noise, NoiseLevel
from pathlib import Path
Path("was_run").touch()

class Linear(Noise):
    """sigma = top t."""
    def __init__(self, *, top: float = 5.0) -> None:
        super().__init__()
        self.top = top
    def forward(self, t):
        return NoiseLevel(t, self.top * t, self.top * (0 * t + 1))
    def time(self, sigma):
        return sigma / self.top

class Text(TextFiles):
    """Data whose length is a default, which the arguments in a record do not include."""
    def __init__(self, *, length: int = 16) -> None:
        super().__init__(paths=("text.txt",), tokenizer="char", length=length)

class Helper:
    pass

def config():
    run = quickstart()
    run.noise = fdl.Config(Linear, top=7.0)
    run.data.paths, run.data.tokenizer, run.data.length = ("text.txt",), "char", 16
    run.model.hidden_size, run.model.n_heads, run.model.n_blocks = 16, 2, 1
    run.training.steps, run.evaluator.sequences, run.evaluator.points = 1, 4, 1
    run.samples.steps, run.samples.count = 1, 1
    return run

def own_data():
    run = quickstart()
    run.data = fdl.Config(Text)
    run.model.hidden_size, run.model.n_heads, run.model.n_blocks = 16, 2, 1
    run.training.steps, run.evaluator.sequences, run.evaluator.points = 1, 4, 1
    run.samples.steps, run.samples.count = 1, 1
    return run

def no_stage():
    run = config()
    run.noise = fdl.Config(Helper)
    return run

def not_partial():
    run = config()
    run.noise = fdl.Partial(Linear)
    return run

def hot(run, lr: float = 1.0):
    run.optimizer.lr = lr

def points(sizes: tuple[int, ...] = (16, 32)):
    return [{"model.hidden_size": size, "optimizer.lr": 0.1 / size, "noise": "loglinear"} for size in sizes]

def no_points():
    return 5
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trust, "_folders", set())
    monkeypatch.setattr(trust, "_modules", {})
    monkeypatch.setattr(trust, "_import", [])
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 200)
    yield "mine.py"
    sys.modules.pop("experiment_mine", None)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = main(["launch.py", *arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def test_a_class_of_the_experiments_file_is_recorded_by_hash_and_needs_trust(
    mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, f"--fdl_config={mine}", "--run_folder=run")
    noise = Record.read(tmp_path / "run" / "config.json").node("noise")
    assert (noise.file, noise.name, noise.args) == ("mine.py", "Linear", {"top": 7.0})
    assert loading.load_checkpoint("run").noise.top == 7.0  # this process ran the experiment

    (tmp_path / "was_run").unlink()
    again = [sys.executable, str(ROOT / "launch.py"), "--fdl_config_file=run/config.json", "--run_folder=again"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    refused = subprocess.run(again, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert refused.returncode == 1
    assert "names the class Linear of the file mine.py, which is code" in refused.stderr
    assert "--trust" in refused.stderr
    assert not (tmp_path / "again").exists()
    assert not (tmp_path / "was_run").exists()
    trusted = subprocess.run([*again, "--trust"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert trusted.returncode == 0, trusted.stderr
    weights = [
        (tmp_path / f"{run}/checkpoints/step_000000001/ema.safetensors").read_bytes() for run in ("run", "again")
    ]
    assert weights[0] == weights[1]


SAMPLE = [f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "--checkpoint=run", "count=1", "steps=1"]


def test_sampling_needs_no_data_and_so_no_trust_in_its_code(
    mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, f"--fdl_config={mine}:own_data", "--run_folder=run")
    record = Record.read(tmp_path / "run" / "config.json")
    assert record.node("data").args == {}
    for known in (trust._folders, trust._modules):  # as in another process
        known.clear()
    (tmp_path / "was_run").unlink()
    said(capsys, *SAMPLE, "format=ids", "--run_folder=ids")
    assert np.load("ids/samples.npy").shape == (1, 16)
    (tmp_path / "mine.py").unlink()
    said(capsys, *SAMPLE, "--run_folder=text")
    export("run", "exported")
    assert json.loads(Path("exported/config.json").read_text())["model"]["length"] == 16
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    ("length", "data", "expected"),
    [
        (16, Node("plugin", "data_gone"), 16),
        (0, Node("plugin", "data_gone"), None),
        (0, Node("plugin", "data_gone", {"length": 8}), 8),
        (0, Node("file", "Text", file="gone.py", sha256="0"), None),
        (0, Node("plugin", "data_text"), 128),  # of an earlier version
    ],
)
def test_the_length_of_a_record_whose_data_cannot_be_made(length: int, data: Node, expected: int | None) -> None:
    assert trained_length(Record(Node("core", "Train", {"data": data}), length=length)) == expected


def test_a_changed_or_missing_file_is_refused_even_when_trusted(mine: str, tmp_path: Path) -> None:
    node = compose(mine, Changes())[0].node.args["noise"]
    trust._modules.clear()
    from sedd_core.cli import trust_files

    trust_files()
    assert build(node, "noise").top == 7.0
    trust._modules.clear()
    (tmp_path / "mine.py").write_text(MINE + "# more\n")
    with pytest.raises(UserError, match=r"mine.py, which has changed since"):
        build(node, "noise")
    (tmp_path / "mine.py").unlink()
    with pytest.raises(UserError, match=r"mine.py, which does not exist"):
        build(node, "noise")


@pytest.mark.parametrize("name", ["Path", "fdl", "quickstart", "Helper", "nothing", "__builtins__"])
def test_a_record_reaches_nothing_but_stages_of_a_trusted_file(mine: str, name: str) -> None:
    node = compose(mine, Changes())[0].node.args["noise"]
    with pytest.raises(UserError, match="no class"):
        build(replace(node, name=name), "noise")


@pytest.mark.parametrize("key", ["file", "sha256", "class"])
def test_a_damaged_node_of_a_file(mine: str, key: str) -> None:
    node = compose(mine, Changes())[0].node.args["noise"]
    with pytest.raises(ValueError, match="damaged at noise"):
        Node.from_json({**node.to_json(), key: ["x"]}, "noise")


def test_other_classes_of_the_file_are_refused(mine: str) -> None:
    with pytest.raises(UserError, match="noise is a Helper; it must be a class of a plugin"):
        compose(f"{mine}:no_stage", Changes())
    with pytest.raises(UserError, match=r"noise must be an fdl.Config of Linear"):
        compose(f"{mine}:not_partial", Changes())


def test_fiddlers_change_the_config_before_the_settings(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "optimizer.lr = 2.5 " in said(capsys, f"--fdl_config={mine}", "--fiddler=hot(lr=2.5)", "--print_config")
    out = said(capsys, f"--fdl_config={mine}", "--fiddler=hot", "optimizer.lr=3", "--print_history")
    assert "optimizer.lr = 3.0 " in out
    assert "before: 1.0  # mine.py:" in out
    assert main(["launch.py", f"--fdl_config={mine}", "--fiddler=ht", "--dry_run"]) == 1
    assert "no function 'ht'. Did you mean 'hot'?" in capsys.readouterr().err


def test_tags_set_every_value_of_their_kind(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "\nseed = 5 " in said(capsys, f"--fdl_config={mine}", "--fdl_tags_set=Seed=5", "--print_config")
    shown = said(capsys, f"--fdl_config={mine}", "--fdl_help")
    assert "Seed: seed" in shown
    assert "    Diffusion times of a batch: one in each of batch_size equal parts of (t_min, 1), or iid" in shown
    for wrong, words in [("Sed=5", "Did you mean 'Seed'?"), ("Seed", "write TAG=value"), ("Seed=x", "seed takes")]:
        assert main(["launch.py", f"--fdl_config={mine}", f"--fdl_tags_set={wrong}", "--print_config"]) == 1
        assert words in capsys.readouterr().err


def test_a_sweep_function_gives_the_points(mine: str) -> None:
    runs = compose(mine, Changes(sweep="points(sizes=(16, 64))", settings=["seed=1,2"]))
    assert [run.label for run in runs][:2] == [
        "model.hidden_size=16,optimizer.lr=0.00625,noise=loglinear,seed=1",
        "model.hidden_size=16,optimizer.lr=0.00625,noise=loglinear,seed=2",
    ]
    assert len(runs) == 4
    assert runs[3].node.args["model"].args["hidden_size"] == 64
    with pytest.raises(UserError, match="no_points must return a list of points"):
        compose(mine, Changes(sweep="no_points"))


def test_new_files_are_in_the_recorded_difference(mine: str, tmp_path: Path) -> None:
    from sedd_core.cli.provenance import record_of_run

    git = ["git", "-c", "user.name=x", "-c", "user.email=x"]
    for command in (["init", "-q"], ["add", "text.txt"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True, cwd=tmp_path)
    node = compose(mine, Changes())[0].node
    before = subprocess.run([*git, "status", "--porcelain"], capture_output=True, cwd=tmp_path, check=True).stdout
    diff = record_of_run(node, "x").git["diff"]
    assert "+class Linear(Noise):" in diff
    assert json.dumps(diff)
    assert subprocess.run([*git, "status", "--porcelain"], capture_output=True, cwd=tmp_path).stdout == before


def test_a_sampler_that_does_not_suit_the_graph_is_refused(
    mine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sedd_core.registry.plugins import plugin

    needs_mask = lambda self, graph: None if graph.mask is not None else "it needs a mask"  # noqa: E731
    monkeypatch.setattr(plugin("sampler_euler"), "incompatibility", needs_mask)
    # The vocabulary size is known before the data is read, hence the graph too.
    small = ["--fdl_config=" + str(ROOT / "experiments/absorb_small.py"), "model=tiny", "--dry_run"]
    assert main(["launch.py", *small]) == 0
    capsys.readouterr()
    assert main(["launch.py", *small, "graph=uniform"]) == 1
    assert "sampler_euler does not suit graph_uniform: it needs a mask" in capsys.readouterr().err
