"""Weights of a checkpoint mean the tokens that they were trained on: another tokenizer is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.golden_figures import GOLDEN
from tests.support.runs import TINY, run, write_text

LETTERS = Path("text.txt")
SHORT = [
    "training.steps=1",
    "training.log_every=1",
    "optimizer.warmup=1",
    "evaluator.sequences=2",
    "samples.count=0",
]


@pytest.fixture(autouse=True)
def _first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on a text, and the same text with one letter exchanged for another: the sizes agree."""
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)
    run(*TINY, *SHORT, "--run_folder=first")
    LETTERS.write_text(LETTERS.read_text().replace("c", "z"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    run(*TINY, *SHORT, "--run_folder=second", *arguments, code=1)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "The tokenizer of init_from=" in error
    assert not Path("second").exists()
    return error


def test_another_alphabet_of_the_same_size(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "init_from=first")
    assert "is 'c' in the one and" in error
    path = "first/checkpoints/step_000000001/tokenizer.json"
    assert f"data.tokenizer={path}" in error
    run(*TINY, *SHORT, "--run_folder=second", "init_from=first", f"data.tokenizer={path}")  # as it says


def test_another_number_of_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "init_from=first", "data.tokenizer=byte")
    assert "tokens and the other 256" in error
    assert "vocab_embed" not in error


def test_a_published_model_has_a_number_of_tokens_alone(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(GOLDEN / "models" / "absorb_scaled", "published")
    error = refused(capsys, "init_from=published")
    assert "tokens, the data's" in error
    assert "published: gpt2" in error
