"""Evaluation of a checkpoint from the command line: the figures of training, other data, and mistakes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_text import TextFiles

from tests.support.golden_figures import GOLDEN
from tests.support.runs import ROOT, TINY, run, write_text

EVALUATE = f"--fdl_config={ROOT / 'experiments' / 'evaluate.py'}"
UNITS = "evaluator.units=('nats/token', 'bits/character')"
BOUND = ("evaluator.sequences=8", "evaluator.points=2", "evaluator.repeats=1", UNITS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEDD_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        write_text(folder)
        run(*TINY, "training.steps=3", "training.eval_every=0", "samples.count=0", "--run_folder=run")
    return folder


@pytest.fixture(autouse=True)
def _there(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)


def results(folder: Path, name: str = "results.json") -> Any:
    return json.loads((folder / name).read_text())


def test_the_figures_are_those_of_training(tmp_path: Path) -> None:
    run(EVALUATE, "--checkpoint=run", *BOUND, f"--run_folder={tmp_path}/one")
    assert results(tmp_path / "one") == results(Path("run"))
    assert "bound" in (tmp_path / "one" / "validation.txt").read_text()
    run(EVALUATE, "--checkpoint=run", *BOUND, "ema=false", f"--run_folder={tmp_path}/raw")
    assert results(tmp_path / "raw") != results(Path("run"))


def test_every_unit_with_the_errors_over_draws_and_documents_apart(tmp_path: Path) -> None:
    """By default 4 repeats of 4 points; the units agree with each other."""
    run(EVALUATE, "--checkpoint=run", "evaluator.sequences=6", f"--run_folder={tmp_path}/one")
    figures = {figure["unit"]: figure for figure in results(tmp_path / "one")}
    nats = figures["nats/token"]["value"]
    ln2 = np.log(2)
    expected = {"nats/token": nats, "bits/token": nats / ln2, "bits/character": nats / ln2, "bits/byte": nats / ln2}
    expected |= {"nats/sequence": 16 * nats, "perplexity": np.exp(nats)}  # 16 characters of one byte each
    assert {unit: figure["value"] for unit, figure in figures.items()} == pytest.approx(expected)
    assert {figure["name"] for figure in figures.values()} == {"bound"}
    assert all(figure["draws_error"] > 0 for figure in figures.values())
    report = (tmp_path / "one" / "validation.txt").read_text()
    assert "error over draws\t" in report
    assert "one repeat has a standard deviation of" in report


def test_the_batch_size_changes_nothing(tmp_path: Path) -> None:
    run(EVALUATE, "--checkpoint=run", *BOUND, "evaluator.batch_size=3", f"--run_folder={tmp_path}/three")
    for figure, other in zip(results(tmp_path / "three"), results(Path("run")), strict=True):
        assert figure["value"] == pytest.approx(other["value"], rel=1e-6)
        assert figure["standard_error"] == pytest.approx(other["standard_error"], rel=1e-5)


def test_what_was_measured_is_written(tmp_path: Path) -> None:
    run(EVALUATE, "--checkpoint=run", *BOUND, f"--run_folder={tmp_path}/one")
    written = results(tmp_path / "one", "evaluation.json")
    (name,) = written["sets"]
    facts = written["sets"][name]
    valid = TextFiles(paths=("text.txt",), tokenizer="char", length=16).split("valid")
    tokens = np.stack([valid.batch(np_index).tokens[0].numpy() for np_index in valid.spread(len(valid)).split(1)])
    rows = np.stack([tokens, np.ones_like(tokens), np.ones_like(tokens)], 1).astype("<i4")
    assert facts == {
        "sequences": len(valid),
        "length": 16,
        "tokens": tokens.size,
        "scored": tokens.size,
        "sha256": hashlib.sha256(rows.tobytes()).hexdigest(),
    }
    assert written["figures"] == results(tmp_path / "one")
    assert (written["precision"], written["weights"], written["checkpoint"]) == ("fp32", "averaged", "run")


def test_the_precision_is_part_of_each_figure(tmp_path: Path) -> None:
    run(EVALUATE, "--checkpoint=run", *BOUND, "precision=bf16", f"--run_folder={tmp_path}/rounded")
    assert results(tmp_path / "rounded", "evaluation.json")["precision"] == "bf16 network, fp32 head"
    for figure, exact in zip(results(tmp_path / "rounded"), results(Path("run")), strict=True):
        assert figure["protocol"].endswith(", bf16 network, fp32 head")
        assert exact["protocol"].endswith(", fp32")
        assert figure["value"] != exact["value"]
        assert figure["value"] == pytest.approx(exact["value"], rel=0.02)


def test_other_data_with_the_tokenizer_of_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("the hat sat on the dog, and the cat ate the mat.\n" * 60)
    tokenizer = Path("run/checkpoints/step_000000003/tokenizer.json").resolve()
    data = [f"data=text(paths='{tmp_path}/other.txt', tokenizer='{tokenizer}', length=16)"]
    run(EVALUATE, "--checkpoint=run", *BOUND, *data, f"--run_folder={tmp_path}/other")
    assert {figure["set"] for figure in results(tmp_path / "other")} == {"other"}


MISTAKES = {
    "another tokenizer": (["data=text(paths=text.txt, tokenizer=byte, length=16)"], "have different tokenizers"),
    "other characters": (
        ["data=text(paths=other.txt, tokenizer=char, length=16)"],
        "and the checkpoint run have different tokenizers",
    ),
    "too long": (["data=text(paths=text.txt, tokenizer=char, length=17)"], "the model was trained on 16: set data.length"),
    "a wrong time": (["t_min=1"], "t_min must lie between 0 and 1, not 1"),
    "no checkpoint": (["checkpoint="], "checkpoint is empty"),
    "an empty set": (["data=text(paths=short.txt, tokenizer='run/checkpoints/newest/tokenizer.json', length=16)"], "less than one sequence"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_one_message(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.txt").write_text("THE CAT SAT ON THE MAT, AND THE DOG ATE.HT\n" * 60)
    Path("short.txt").write_text("the cat sat")
    settings, words = MISTAKES[what]
    run(EVALUATE, "--checkpoint=run", *settings, f"--run_folder={tmp_path}/x", code=1)
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_model_without_data_asks_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(EVALUATE, f"--checkpoint={GOLDEN / 'models' / 'absorb_scaled'}", f"--run_folder={tmp_path}/x", code=1)
    assert "does not state the data that it was trained on: set data=..." in capsys.readouterr().err
    data = "data=text(paths=text.txt, tokenizer=char, length=16)"
    run(EVALUATE, f"--checkpoint={GOLDEN / 'models' / 'absorb_scaled'}", data, f"--run_folder={tmp_path}/x", code=1)
    assert "The tokenizer of text has 16 tokens, but the model" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(tmp_path: Path) -> None:
    run(EVALUATE, "--checkpoint=run", *BOUND, "ngpus=2", f"--run_folder={tmp_path}/two")
    for figure, other in zip(results(tmp_path / "two"), results(Path("run")), strict=True):
        assert figure["value"] == pytest.approx(other["value"], rel=1e-6)
