"""Sampling from the command line: prompts, outputs, trajectories, processes, and the mistakes made with them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from sedd_core.cli.main import main
from tests.lasting.runs import TINY, apart, run, write_text

ROOT = Path(__file__).parents[2]
SAMPLE = [f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "steps=8", "count=3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of an absorb and a uniform model."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEDD_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        write_text(folder)
        run(*TINY, "training.steps=2", "training.snapshot_every=0", "--run_folder=absorb")
        run(*TINY, "training.steps=2", "training.snapshot_every=0", "graph=uniform", "--run_folder=uniform")
    return folder


@pytest.fixture(autouse=True)
def _there(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("absorb", "uniform"):
        (tmp_path / name).symlink_to(trained / name)


def texts(folder: str) -> list[str]:
    return [path.read_text() for path in sorted(Path(folder, "samples").glob("sample_*.txt"))]


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
@pytest.mark.parametrize("sampler", ["analytic", "euler", "analytic(temperature=0.7, top_p=0.9)"])
def test_given_texts_stand_where_they_were_put(graph: str, sampler: str) -> None:
    common = [*SAMPLE, f"--checkpoint={graph}", f"sampler={sampler}"]
    run(*common, "--prefix=the cat", "--suffix=hat.", "--run_folder=ends")
    assert all(re.fullmatch(r"the cat.{5}hat\.", text, re.DOTALL) for text in texts("ends"))
    run(*common, "--prompt=the [[*]], and [[3]]t", "--run_folder=blanks")
    assert all(re.fullmatch(r"the .{2}, and .{3}t", text, re.DOTALL) for text in texts("blanks"))
    assert len(texts("blanks")) == 3


def test_a_file_of_prompts() -> None:
    Path("prompts.txt").write_text("the [[*]]\n\n[[*]] hat\n")
    run(*SAMPLE, "--checkpoint=absorb", "prompts=prompts.txt", "--run_folder=out")
    found = texts("out")
    assert len(found) == 6
    assert all(text.startswith("the ") for text in found[:3])
    assert all(text.endswith(" hat") for text in found[3:])


def test_outputs() -> None:
    common = [*SAMPLE, "--checkpoint=absorb"]
    run(*common, "--run_folder=text")
    run(*common, "format=jsonl", "--run_folder=jsonl")
    run(*common, "format=ids", "--run_folder=ids")
    lines = [json.loads(line) for line in Path("jsonl/samples.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == texts("text")
    assert np.load("ids/samples.npy").tolist() == [line["tokens"] for line in lines]


def test_the_batch_size_and_the_processes_change_nothing() -> None:
    common = [*SAMPLE, "--checkpoint=uniform", "count=5"]
    run(*common, "--run_folder=one")
    run(*common, "batch_size=1", "--run_folder=single")
    apart(*common, "ngpus=2", "--run_folder=two")
    assert texts("one") == texts("single") == texts("two")
    run(*common, "seed=1", "--run_folder=other")
    assert texts("other") != texts("one")


@pytest.mark.parametrize("grid", ["cosine", "equal"])
def test_grids_are_settings(grid: str) -> None:
    run(*SAMPLE, "--checkpoint=absorb", f"grid={grid}", "--run_folder=out")
    assert len(texts("out")) == 3


def test_a_trajectory_is_recorded_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    from sedd_core.watch import Trajectory

    run(*SAMPLE, "--checkpoint=absorb", "--prefix=the", "--trajectory", "--run_folder=out")
    recorded = Trajectory.load(Path("out/trajectory.safetensors"))
    assert recorded.states.shape == (10, 3, 16)  # the prior, 8 steps, the result
    assert [recorded.codec.decode(row) for row in recorded.states[-1].tolist()] == texts("out")
    assert recorded.given.sum() == 9
    assert "<html" in Path("out/trajectory.html").read_text()
    assert Path("out/trajectory.svg").read_text().startswith("<svg")
    assert "10 network calls" not in capsys.readouterr().out


def test_given_tokens_of_a_uniform_process_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    run(*SAMPLE, "--checkpoint=uniform", "--prefix=the", "--run_folder=same")
    assert "warning: given tokens" in capsys.readouterr().out
    run(*SAMPLE, "--checkpoint=uniform", "--prefix=the", "given_noise=none", "--run_folder=none")
    run(*SAMPLE, "--checkpoint=absorb", "--prefix=the", "--run_folder=absorbed")
    assert "warning" not in capsys.readouterr().out


MISTAKES = {
    "too long": (["--prefix=" + "the cat " * 5], ["40", "16"]),
    "no room": (["--prompt=the cat and a hat[[*]]"], ["16"]),
    "two open blanks that cannot fit": (["--prompt=the cat and a[[*]] t[[*]]"], ["blank"]),
    "unknown character": (["--prompt=Zebra[[*]]"], ["'Z'"]),
    "a blank that is none": (["--prompt=the [[x]]"], ["[[x]]"]),
    "two ways": (["--prompt=the[[*]]", "--prefix=a"], ["by one"]),
    "no file of prompts": (["prompts=nowhere.txt"], ["nowhere.txt"]),
    "an unknown grid": (["grid=round"], ["one of 'uniform', 'cosine', 'equal'"]),
    "a temperature of nothing": (["sampler=analytic(temperature=0)"], ["temperature"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_message_and_leave_nothing(mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, words = MISTAKES[mistake]
    assert main(["launch.py", *SAMPLE, "--checkpoint=absorb", *arguments, "--run_folder=out"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert [word for word in words if word not in error] == [], error
    assert not Path("out").exists()


def test_a_missing_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch.py", *SAMPLE, "--checkpoint=nowhere/at_all", "--run_folder=out"]) == 1
    assert "nowhere/at_all" in capsys.readouterr().err
    assert not Path("out").exists()


def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "sampling.md").read_text(), re.DOTALL)
    exec(code, {"run": "absorb"})
    printed = capsys.readouterr().out
    assert printed.count("'the ") == 2
