"""Runs that version 0.1.0 made, sampled, resumed and replayed: the same numbers come out of every later version.

`stored/` has a run of 12 steps for each of two graphs, its checkpoints after steps 6 and 12, and samples of the latter.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sedd_core.cli.main import main

STORED = Path(__file__).parent / "stored"
GRAPHS = ("absorb", "uniform")
LAST = Path("checkpoints", "step_000000012")


@pytest.fixture(autouse=True)
def _copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(STORED, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def launch(*arguments: str) -> None:
    assert main(["launch.py", *arguments]) == 0


def losses(folder: str | Path) -> list[float]:
    lines = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
    return [line["train/loss"] for line in lines if "train/loss" in line]


def check_last(folder: str, graph: str) -> None:
    """The run in a folder ended as the stored one did. Tolerances: other processors round otherwise."""
    for name in ("model", "ema"):
        one, other = (load_file(Path(run, LAST, f"{name}.safetensors")) for run in (folder, STORED / graph))
        assert one.keys() == other.keys()
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=1e-4, atol=1e-5)
    assert losses(folder) == pytest.approx(losses(STORED / graph), rel=1e-4)
    bounds = [json.loads(Path(run, "results.json").read_text()) for run in (folder, STORED / graph)]
    for figure, expected in zip(*bounds, strict=True):
        assert figure["unit"] == expected["unit"]
        assert figure["value"] == pytest.approx(expected["value"], rel=1e-4)
        assert figure["standard_error"] == pytest.approx(expected["standard_error"], rel=1e-3)


@pytest.mark.parametrize("graph", GRAPHS)
def test_samples_are_those_of_the_version_that_wrote_the_checkpoint(graph: str) -> None:
    launch(f"--fdl_config_file={graph}-samples/config.json", "--run_folder=again")
    assert Path("again/samples.jsonl").read_text() == Path(f"{graph}-samples/samples.jsonl").read_text()


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_stored_run_is_resumed(graph: str) -> None:
    shutil.rmtree(Path(graph, LAST))
    launch(f"--run_folder={graph}", "--resume")
    check_last(graph, graph)


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_stored_run_is_replayed(graph: str) -> None:
    launch(f"--fdl_config_file={graph}/config.json", "--run_folder=again")
    check_last("again", graph)
