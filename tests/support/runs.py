"""Tiny runs for tests of what lasts, in this process or another."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from sedd_core.cli.main import main

ROOT = Path(__file__).parents[2]
TINY = [
    f"--fdl_config={ROOT / 'experiments' / 'quickstart.py'}",
    *("data.paths=text.txt", "data.tokenizer=char", "data.length=16", "model.hidden_size=16", "model.n_heads=2"),
    *("model.n_blocks=1", "model.dropout=0.1", "training.batch_size=8", "training.steps=12", "training.log_every=2"),
    *("optimizer.warmup=2", "evaluator.sequences=8", "evaluator.points=2", "evaluator.references=false"),
    *("samples.steps=4", "samples.count=2", "checkpoints.every=3", "training.eval_every=4"),
]
KILLED_AT_A_FILE = """
import os, signal, sys
def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
from sedd_core.cli.main import main
sys.exit(main(["launch.py", *sys.argv[2:]]))
"""
KILLER = """
import os, signal, sys
from sedd_core.checkpoints import folder
from sedd_core.training import samples, trainer
import evaluator_bound
from sedd_core.cli.main import main
place, calls = sys.argv[1], int(sys.argv[2])
owner, name = {
    "in a step": (trainer.Trainer, "update"),
    "in a save": (folder, "write_weights"),
    "before the rename": (folder.os, "rename"),
    "in evaluation": (evaluator_bound, "estimate"),
    "in sampling": (samples, "sample"),
}[place]
original = getattr(owner, name)
def deadly(*args, **named):
    global calls
    calls -= 1
    if calls == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **named)
setattr(owner, name, deadly)
sys.exit(main(["launch.py", *sys.argv[3:]]))
"""


def write_text(folder: Path) -> None:
    (folder / "text.txt").write_text("the cat sat on the mat, and the dog ate the hat.\n" * 60)


def run(*arguments: str, code: int = 0) -> None:
    """In this process."""
    assert main(["launch.py", *arguments]) == code


def apart(
    *arguments: str, code: int = 0, program: tuple[str, ...] = (str(ROOT / "launch.py"),), patience: float = 240
) -> str:
    """In a process of its own. Returns all that it said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *program, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=patience, check=False)
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


def log(folder: str) -> list[str]:
    """The lines of a run's log without what depends on the time."""
    lines = Path(folder, "log.txt").read_text().splitlines()
    clock = r"  (tokens_per_second|data_wait) \S+|  at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d|  left .+$"
    return [re.sub(clock, "", line) for line in lines if line.startswith("step")]


def metrics(folder: str) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl without what depends on the time."""
    lines = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name != "time" and not name.startswith("train_speed/")}
        for line in lines
    ]


def losses(folder: str) -> Tensor:
    """The losses in a run's log."""
    return torch.tensor([float(found) for line in log(folder) for found in re.findall(r"  loss (\S+)", line)])


def points(folder: Path) -> dict[tuple[str, int], float | str]:
    """Every scalar and text of a run's event files, as a reader sees them that takes every record."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    found: dict[tuple[str, int], float | str] = {}
    for path in sorted((folder / "tensorboard").glob("*tfevents*")):
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            for value in event.summary.value:
                if not value.tag.startswith("_hparams_/"):
                    assert (value.tag, event.step) not in found, f"{value.tag} twice at step {event.step}"
                    texts = value.tensor.string_val
                    found[value.tag, event.step] = texts[0].decode() if texts else value.simple_value
    return found


def charts(folder: str) -> dict[tuple[str, int], str]:
    """The points of a run without what depends on the time, on its folder, or on how it was told what to do."""
    found = points(Path(folder)).items()
    return {key: repr(value) for key, value in found if not re.match("train_speed/|command/|config/", key[0])}


def trainer(folder: str) -> Any:
    """What the newest checkpoint of a run says of its trainer."""
    return torch.load(Path(folder, "checkpoints", "newest", "trainer.pt"), weights_only=True)["trainer"]


def plain(thing: Any) -> Any:
    """Tensors as lists: for comparing."""
    if isinstance(thing, Tensor):
        return thing.tolist()
    if isinstance(thing, dict):
        return {key: plain(value) for key, value in thing.items()}
    return [plain(value) for value in thing] if isinstance(thing, list | tuple) else thing


def weights(folder: str, file: str = "model") -> dict[str, Tensor]:
    """Of a run's newest checkpoint."""
    return load_file(Path(folder, "checkpoints", "newest", f"{file}.safetensors"))


def assert_same(one: str, other: str) -> None:
    """Two runs left the same weights, averages, optimizer, log, charts, samples and bound, to the bit."""
    for file in ("model", "ema"):
        left, right = weights(one, file), weights(other, file)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)
    assert plain(trainer(one)) == plain(trainer(other))
    assert log(one) == log(other)
    assert metrics(one) == metrics(other)
    assert charts(one) == charts(other)
    assert Path(one, "validation.txt").read_text() == Path(other, "validation.txt").read_text()
    texts = [{p.relative_to(f): p.read_text() for p in Path(f).glob("samples/*/*.txt")} for f in (one, other)]
    assert texts[0] == texts[1]
    assert Path(one, "results.json").read_text() == Path(other, "results.json").read_text()
