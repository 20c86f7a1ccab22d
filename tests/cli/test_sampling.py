"""Sampling from the command line: prompts, outputs, trajectories, processes, and the mistakes made with them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sedd_core import plugin
from sedd_core.checkpoints.export import export
from sedd_core.cli.main import main
from sedd_core.text.builtin import character_codec
from sedd_core.trajectory import Trajectory
from tests.support.golden_figures import GOLDEN
from tests.support.runs import TINY, run, write_text

ROOT = Path(__file__).parents[2]
MODELS = GOLDEN / "models"
SAMPLE = [f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "steps=8", "count=3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of an absorb and a uniform model."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEDD_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        write_text(folder)
        run(*TINY, "training.steps=2", "training.eval_every=0", "--run_folder=absorb")
        run(*TINY, "training.steps=2", "training.eval_every=0", "graph=uniform", "--run_folder=uniform")
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


def test_lines_of_samples_say_where_each_comes_from() -> None:
    common = [*SAMPLE, "--checkpoint=absorb", "format=jsonl", "seed=5"]
    Path("prompts.txt").write_text("the [[*]]\n\n[[*]] hat\n")
    run(*common, "prompts=prompts.txt", "--run_folder=file")
    lines = [json.loads(line) for line in Path("file/samples.jsonl").read_text().splitlines()]
    assert [(line["index"], line["seed"], line["prompt"]) for line in lines] == [
        *((index, 5, "the [[*]]") for index in range(3)),
        *((index, 5, "[[*]] hat") for index in range(3, 6)),
    ]
    assert all(line["text"].endswith(" hat") for line in lines[3:])
    run(*common, "--run_folder=free")
    free = [json.loads(line) for line in Path("free/samples.jsonl").read_text().splitlines()]
    assert [(line["index"], line["prompt"]) for line in free] == [(0, None), (1, None), (2, None)]
    run(*common, "--prefix=the", "--suffix=at", "--run_folder=ends")
    asked = json.loads(Path("ends/samples.jsonl").read_text().splitlines()[0])["prompt"]
    assert asked == "the[[*]]at"


@pytest.mark.parametrize("kind", ["run", "checkpoint", "export"])
def test_whatever_holds_the_model_gives_the_same_samples(kind: str) -> None:
    export("absorb", "exported")
    paths = {"run": "absorb", "checkpoint": "absorb/checkpoints/newest", "export": "exported"}
    run(*SAMPLE, "--checkpoint=absorb", "--run_folder=first")
    run(*SAMPLE, f"--checkpoint={paths[kind]}", "--run_folder=second")
    assert texts("first") == texts("second")
    assert len(texts("first")[0]) == 16


@pytest.mark.parametrize("name", ["absorb_scaled", "absorb_unscaled", "uniform"])
def test_a_published_model_has_ids_or_a_tokenizer_that_is_named(name: str) -> None:
    published = f"--checkpoint={MODELS / name}"
    run(*SAMPLE, published, "format=ids", "--run_folder=ids")
    character_codec("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW").save(Path("fifty.json"))
    run(*SAMPLE, published, "tokenizer=fifty.json", "format=jsonl", "--run_folder=text")
    ids = np.load("ids/samples.npy")
    assert ids.shape == (3, 32)
    assert [json.loads(line)["tokens"] for line in Path("text/samples.jsonl").read_text().splitlines()] == ids.tolist()
    run(*SAMPLE, published, "tokenizer=fifty.json", "--prefix=hat", "length=8", "--run_folder=given")
    assert all(re.fullmatch("hat.{5}", text) for text in texts("given"))


def test_the_batch_size_and_the_processes_change_nothing() -> None:
    """Not even the recorded states; and what is reported is of all processes."""
    common = [*SAMPLE, "--checkpoint=uniform", "--prefix=the", "count=5", "--trajectory"]
    run(*common, "--run_folder=one", "batch_size=5")
    run(*common, "--run_folder=single", "batch_size=1")
    run(*common, "--run_folder=two", "batch_size=2", "ngpus=2")
    assert texts("one") == texts("single") == texts("two")
    pages = [Path(folder, "trajectory.html").read_text() for folder in ("one", "single", "two")]
    assert pages[0] == pages[1] == pages[2]
    results = [json.loads(Path(folder, "results.json").read_text()) for folder in ("one", "single", "two")]
    assert [result[0]["value"] for result in results] == [9, 45, 27]
    assert [figure["unit"] for figure in results[0]] == ["network calls", "probability/position", "tokens/s"]
    assert [result[1]["value"] for result in results[1:]] == [pytest.approx(results[0][1]["value"], rel=1e-3)] * 2
    assert results[0][1]["value"] > 0
    assert results[0][2]["value"] > 0
    run(*common, "seed=1", "--run_folder=other")
    assert texts("other") != texts("one")


@pytest.mark.slow
def test_more_processes_than_samples() -> None:
    run(*SAMPLE, "--checkpoint=absorb", "count=1", "--trajectory", "ngpus=2", "--run_folder=out")
    assert len(texts("out")) == 1
    assert Trajectory.load(Path("out/trajectory.safetensors")).states.shape == (10, 1, 16)


def test_more_tokens_than_the_network_has_seen_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    run(*SAMPLE, "--checkpoint=absorb", "length=16", "--run_folder=as_trained")
    assert "warning" not in capsys.readouterr().out
    run(*SAMPLE, "--checkpoint=absorb", "length=20", "--run_folder=longer")
    assert "trained on sequences of 16 tokens; samples have 20" in capsys.readouterr().out
    assert {len(text) for text in texts("longer")} == {20}


@pytest.mark.parametrize("grid", ["cosine", "equal"])
def test_grids_are_settings(grid: str) -> None:
    run(*SAMPLE, "--checkpoint=absorb", f"grid={grid}", "--run_folder=out")
    assert len(texts("out")) == 3


def test_a_trajectory_is_recorded_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run(*SAMPLE, "--checkpoint=absorb", "--prefix=the", "--trajectory", "--run_folder=out")
    recorded = Trajectory.load(Path("out/trajectory.safetensors"))
    assert recorded.states.shape == (10, 3, 16)  # the prior, 8 steps, the result
    assert [recorded.codec.decode(row) for row in recorded.states[-1].tolist()] == texts("out")
    assert recorded.given.sum() == 9
    assert "<html" in Path("out/trajectory.html").read_text()
    assert Path("out/trajectory.svg").read_text().startswith("<svg")
    assert "8 network calls" in capsys.readouterr().out  # 8 steps; the last one left nothing to denoise


def test_given_tokens_of_a_uniform_process_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    run(*SAMPLE, "--checkpoint=uniform", "--prefix=the", "--run_folder=same")
    assert "warning: fixed tokens" in capsys.readouterr().out
    run(*SAMPLE, "--checkpoint=uniform", "--prefix=the", "fixed_token_noise=none", "--run_folder=none")
    run(*SAMPLE, "--checkpoint=absorb", "--prefix=the", "--run_folder=absorbed")
    assert "warning" not in capsys.readouterr().out


MISTAKES = {
    "too long": (["--prefix=" + "the cat " * 5], ["40", "16"]),
    "no room": (["--prompt=the cat and a hat[[*]]"], ["16"]),
    "two open blanks that cannot fit": (["--prompt=the cat and a[[*]] t[[*]]"], ["blank"]),
    "unknown character": (["--prompt=Zebra[[*]]"], ["'Z'"]),
    "a blank that is none": (["--prompt=the [[x]]"], ["[[x]]"]),
    "two ways": (["--prompt=the[[*]]", "--prefix=a"], ["exclude each other"]),
    "no file of prompts": (["prompts=nowhere.txt"], ["nowhere.txt"]),
    "an unknown grid": (["grid=round"], ["one of 'uniform', 'cosine', 'equal'"]),
    "a temperature of nothing": (["sampler=analytic(temperature=0)"], ["temperature"]),
    "a sharper one than all": (["sampler.top_p=2"], ["top_p must lie in (0, 1], not 2.0"]),
    "no steps": (["steps=0"], ["steps must be at least 1, not 0"]),
    "no samples": (["count=0"], ["count must be at least 1, not 0"]),
    "no length": (["length=0"], ["length must be at least 1, not 0"]),
    "an unknown output": (["format=nonsense"], ["one of 'text', 'jsonl', 'ids'"]),
    "a step too far": (["t_min=0"], ["t_min must lie between 0 and 1"]),
    "an unknown sampler": (["sampler=eulr"], ["Did you mean 'sampler_euler'?"]),
    "a setting of another sampler": (["sampler.top_k=5"], ["Analytic has no 'top_k'", "top_p"]),
    "a process of its own": (["graph=uniform"], ["Unknown setting 'graph'"]),
    "an empty checkpoint": (["--checkpoint="], ["checkpoint is empty"]),
    "a second tokenizer": (["tokenizer=absorb"], ["contains its own tokenizer"]),
    "a suffix too long": (["--suffix=" + "the cat " * 5], ["The suffix needs 41 tokens"]),
    "an empty file of prompts": (["prompts=/dev/null"], ["contains no prompts"]),
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


CHECKPOINTS = {
    "no tokenizer": ([f"--checkpoint={MODELS / 'uniform'}"], ["tokenizer=gpt2", "format=ids"]),
    "no tokenizer for a prompt": (
        [f"--checkpoint={MODELS / 'uniform'}", "format=ids", "--prefix=a"],
        ["tokenizer=gpt2"],
    ),
    "no tokenizer to watch": (
        [f"--checkpoint={MODELS / 'uniform'}", "format=ids", "--trajectory"],
        ["tokenizer=gpt2"],
    ),
    "another's tokenizer": ([f"--checkpoint={MODELS / 'uniform'}", "tokenizer=two.json"], ["has 2 tokens", "has 50"]),
    "a tokenizer that is not there": (
        [f"--checkpoint={MODELS / 'uniform'}", "tokenizer=/a/b/tokenizer.json"],
        ["There is no tokenizer at /a/b/tokenizer.json"],
    ),
    "no config": (["--checkpoint=bare"], ["bare/config.json", "is missing"]),
    "another's weights": (["--checkpoint=swapped", "format=ids"], ["do not fit", "size mismatch", "(and 2 more)"]),
    "a diverged network": (["--checkpoint=diverged", "format=ids"], ["NaN or infinite scores", "earlier checkpoint"]),
}


@pytest.mark.parametrize("mistake", CHECKPOINTS)
def test_checkpoints_that_cannot_be_sampled_from(mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    character_codec("a").save(Path("two.json"))
    for folder, weights in (("bare", "uniform"), ("swapped", "absorb_scaled"), ("diverged", "uniform")):
        shutil.copytree(MODELS / "uniform", folder)
        shutil.copyfile(MODELS / weights / "model.safetensors", Path(folder, "model.safetensors"))
    Path("bare/config.json").unlink()
    broken = load_file("diverged/model.safetensors")
    save_file(broken | {"output_layer.linear.bias": torch.full((50,), torch.nan)}, "diverged/model.safetensors")
    arguments, words = CHECKPOINTS[mistake]
    assert main(["launch.py", *SAMPLE, *arguments, "--run_folder=out"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert [word for word in words if word not in error] == [], error
    assert not list(Path().glob("out/samples*"))


def test_a_sampler_that_does_not_suit_the_graph(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugin("sampler_euler"), "incompatibility", lambda self, graph: "it needs a mask")
    assert main(["launch.py", *SAMPLE, "--checkpoint=uniform", "sampler=euler", "--run_folder=out"]) == 1
    assert "sampler_euler does not suit graph_uniform: it needs a mask" in capsys.readouterr().err
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
