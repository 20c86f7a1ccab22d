"""`python -m sedd_core evaluate`: a checkpoint under a protocol, from the command line to the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sedd_core.cli.evaluate import main
from sedd_core.errors import UserError
from tests.support.runs import TINY, run, write_text


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEDD_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        write_text(folder)
        text = Path("text.txt").read_text()
        Path("text.txt").write_text(text + "<|endoftext|>\n" * 3)
        run(*TINY, "training.steps=2", "training.eval_every=0", "samples.count=0", "--run_folder=run")
        Path("rows.txt").write_text("".join(f"{row}\n" for row in text.split("\n")[:60]))
    return folder


@pytest.fixture(autouse=True)
def _there(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)


SET = ("--set=ag_news", "--file=rows.txt", "data.length=16", "data.end_token=t", "evaluator.batch=4")


def figures_of(folder: Path) -> dict[str, Any]:
    return {figure["unit"]: figure for figure in json.loads((folder / "results.json").read_text())}


def test_a_protocol_on_its_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The checkpoint's own tokenizer; terms that the protocol leaves out are printed as left out."""
    assert main(["run", "--protocol=duo", *SET, "evaluator.repeats=2", f"--run_folder={tmp_path}/one"]) == 0
    figures = figures_of(tmp_path / "one")
    assert figures["perplexity"]["protocol"].startswith(
        "duo 1 (changed: repeats=2, batch=4): 1 noise levels per sequence x 2 repeats (low"
    )
    assert "without reconstruction and prior" in figures["perplexity"]["protocol"]
    assert figures["perplexity"]["set"] == "ag_news"
    report = (tmp_path / "one" / "validation.txt").read_text()
    assert "reconstruction\tleft out" in report
    assert "protocol duo 1: Duo's zero-shot perplexity" in report
    record = json.loads((tmp_path / "one" / "config.json").read_text())
    assert "low_discrepancy" in json.dumps(record)
    assert (
        main(
            [
                "run",
                "--protocol=duo",
                *SET,
                "evaluator.repeats=2",
                "evaluator.batch_size=3",
                f"--run_folder={tmp_path}/b",
            ]
        )
        == 0
    )
    assert figures_of(tmp_path / "b")["perplexity"]["value"] == pytest.approx(figures["perplexity"]["value"], rel=1e-6)


def test_a_protocols_estimator_on_the_data_of_the_checkpoint(tmp_path: Path) -> None:
    assert main(["run", "--protocol=radd", "evaluator.repeats=3", f"--run_folder={tmp_path}/one"]) == 0
    assert "mean of the batches' values" in figures_of(tmp_path / "one")["nats/token"]["protocol"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "evaluate takes one checkpoint and a protocol"),
        (["run", "other", "--protocol=duo"], "evaluate takes one checkpoint and a protocol"),
        (["run", "--protocol=dou"], "Did you mean 'duo'"),
    ],
)
def test_a_wrong_command_is_one_message(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set=agnews"], "name 'agnews' does not exist"),
        (["--set=ag_news", "--file=none.txt", "data.length=16", "data.end_token=t"], "There is no file none.txt"),
        ([*SET, "data.length=17"], "has sequences of 17 tokens, but the model was trained on 16"),
        (
            ["--set=ag_news", "--file=rows.txt", "--tokenizer=other.json", "data.length=16", "data.end_token=t"],
            "other.json",
        ),
        ([*SET, "--file=empty.txt"], "is empty: "),
    ],
)
def test_bad_data_is_one_message(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.txt").write_text("t\n")
    assert main(["run", "--protocol=duo", *words, f"--run_folder={tmp_path}/x"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
