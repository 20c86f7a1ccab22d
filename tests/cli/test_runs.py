"""The command line from end to end: train, look at what is left, sample from it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sedd_core import load_model
from sedd_core.build.build import build
from sedd_core.checkpoints.load import load_checkpoint
from sedd_core.cli.main import main
from sedd_core.maths.draws import Draws
from sedd_core.record import Node, Record

ROOT = Path(__file__).parents[2]
SMALL = [
    f"--fdl_config={ROOT / 'experiments' / 'quickstart.py'}",
    *(
        f"--fdl_set={setting}"
        for setting in [
            "data.paths=text.txt",
            "data.tokenizer=char",
            "data.length=16",
            "model.hidden_size=16",
            "model.n_blocks=1",
            "model.n_heads=2",
            "training.batch_size=8",
            "training.log_every=2",
            "evaluator.sequences=8",
            "evaluator.points=2",
            "samples.steps=4",
            "samples.count=2",
        ]
    ),
]


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "text.txt").write_text("the cat sat on the mat, and the dog ate the hat.\n" * 60)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> None:
    assert main(["launch.py", *arguments]) == 0


def train(folder: str, *sets: str) -> Path:
    run(*SMALL, *(f"--fdl_set={setting}" for setting in sets), f"--run_folder={folder}")
    return Path(folder)


def test_a_run_leaves_its_folder(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train("run", "training.steps=4", "checkpoints.every=2")
    out = capsys.readouterr().out
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    steps = [f"checkpoints/step_{step:09d}" for step in (2, 4)]
    files = ["model.safetensors", "ema.safetensors", "tokenizer.json", "config.json", "trainer.pt", "sha256"]
    (events,) = (name for name in names if name.startswith("tensorboard/events"))
    assert (folder / "checkpoints" / "newest").resolve().name == "step_000000004"
    assert names == {
        *("config.json", "config.txt", "log.txt", "metrics.jsonl", "validation.txt", "results.json", "nats_text.json"),
        *("run.lock", events),
        *(f"samples/step_000000004/sample_{index}.txt" for index in (0, 1)),
        *(f"{step}/{file}" for step in steps for file in files),
    }
    record = Record.read(folder / "config.json")
    vocab_size = record.node("graph").args["vocab_size"]
    assert record.node("graph") == Node("plugin", "graph_absorb", {"vocab_size": vocab_size})
    assert record.node("model").args["num_states"] == vocab_size + 1
    assert record.plugins["graph_absorb"]["distribution"] == "sedd-graph-absorb"
    assert record.data
    assert record.versions["torch"]
    assert int(record.hardware["threads"]) >= 1
    assert "--fdl_set=training.steps=4" in record.command
    assert build(record.run).training.steps == 4
    assert "training.steps = 4" in (folder / "config.txt").read_text()
    assert [line.split()[1] for line in (folder / "log.txt").read_text().splitlines()] == ["2/4", "4/4", "4"]
    for word in ["diffusion", "reconstruction", "prior", "bound", "3-gram", "sample 1", "network calls", "Done in"]:
        assert word in out
    sample = (folder / "samples" / "step_000000004" / "sample_0.txt").read_text()
    assert len(sample) == 16
    assert sample in out


def test_sampling_from_the_run(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("run", "training.steps=2")
    sample = f"--fdl_config={ROOT / 'experiments' / 'sample.py'}"
    drawn = {}
    for name, sets in {
        "euler": ["sampler=euler"],
        "analytic": ["sampler=analytic"],
        "one by one": ["sampler=analytic", "batch_size=1"],
        "another seed": ["sampler=analytic", "seed=1"],
        "longer": ["sampler=analytic", "length=20"],
    }.items():
        run(
            sample,
            "--fdl_set=checkpoint=run",
            "--fdl_set=steps=4",
            *(f"--fdl_set={s}" for s in sets),
            f"--run_folder={name}",
        )
        drawn[name] = [path.read_text() for path in sorted(Path(name).glob("samples/*.txt"))]
        assert len(drawn[name]) == 4
    assert drawn["analytic"] == drawn["one by one"]  # independent of the batch
    assert drawn["analytic"] != drawn["another seed"]
    assert {len(sample) for sample in drawn["longer"]} == {20}
    assert "(Euler)" in capsys.readouterr().out


@pytest.mark.parametrize("noise", ["loglinear", "geometric"])
@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_every_combination_runs_without_a_code_change(text: Path, graph: str, noise: str) -> None:
    folder = train("run", f"graph={graph}", f"noise={noise}", "sampler=euler", "training.steps=2")
    model, process, schedule = load_model(folder)
    assert process.num_states == model.backbone.head.out_features
    x = process.prior(Draws(0, torch.arange(2)), 16)
    assert model(x, schedule.at_sigma(torch.ones(2))).isfinite().all()
    assert schedule(torch.tensor([0.5])).sigma > 0


def test_the_same_seed_gives_the_same_weights_and_another_does_not(text: Path) -> None:
    weights = []
    for folder, seed in [("a", 0), ("b", 0), ("c", 1)]:
        train(folder, "training.steps=3", f"seed={seed}")
        weights.append(load_checkpoint(folder).model.backbone.head.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_checkpoint_is_enough_elsewhere(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A moved run is read by a process without the experiment, the repository or Fiddle."""
    folder = train("run", "training.steps=1")
    elsewhere = tmp_path / "elsewhere"
    (folder / "checkpoints" / "step_000000001").rename(elsewhere)
    code = (
        "import sys; from sedd_core import load_model; model, graph, noise = load_model('elsewhere'); "
        "print(graph.mask, 'fiddle' in sys.modules, 'experiments' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert result.stdout.split()[1:] == ["False", "False"]


def test_a_dry_run_of_the_published_model(capsys: pytest.CaptureFixture[str], text: Path) -> None:
    before = sorted(text.rglob("*"))
    run(f"--fdl_config={ROOT / 'experiments' / 'absorb_medium.py'}", "--dry_run")
    out = capsys.readouterr().out
    assert "424,477,010 parameters" in out
    assert "graph = graph_absorb" in out
    assert re.search(r"blocks\.23\.attn_qkv\.weight +\[3072, 1024\]", out)
    assert sorted(text.rglob("*")) == before


def test_a_stated_vocabulary_is_recorded_as_it_is(text: Path) -> None:
    folder = train("run", "training.steps=1")
    size = json.loads((folder / "config.json").read_text())["run"]["args"]["graph"]["args"]["vocab_size"]
    train("again", "training.steps=1", f"graph.vocab_size={size}")


def test_the_program_itself(tmp_path: Path) -> None:
    """As a process: a mistake exits with 1 and one message, --help with 0."""
    launch = [sys.executable, str(ROOT / "launch.py")]
    result = subprocess.run(
        [*launch, "--fdl_config=nonsense.py"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    result = subprocess.run([*launch, "--help"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0
    for flag in ("--fdl_config", "--fdl_set", "dry_run", "--run_folder"):
        assert flag in result.stdout
    module = [sys.executable, "-m", "sedd_core"]
    result = subprocess.run([*module, "plugins"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "graph_absorb         sedd-graph-absorb 0.2.0" in result.stdout
    result = subprocess.run([*module, "launch"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert "No experiment is given" in result.stderr
