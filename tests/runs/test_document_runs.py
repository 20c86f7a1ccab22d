"""Runs on one document per sequence: names of figures, samples that end, and lengths that are given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sedd_core.record.record import Record
from tests.support.runs import ROOT, TINY, points, run

END = "<|endoftext|>"
DOCUMENTS = [
    *TINY,
    *("data=hub", "data.name=documents.jsonl", "data.tokenizer=byte", "data.vocab=257", "data.packing=document"),
    *("data.length=16", "data.valid_documents=20", "training.steps=2", "training.eval_every=0", "monitor=None"),
]
SAMPLE = [f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "steps=4", "count=3"]


@pytest.fixture(autouse=True)
def _documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    lines = [json.dumps({"text": "abcdefgh"[: 1 + index % 8]}) for index in range(120)]
    Path("documents.jsonl").write_text("\n".join(lines))


def test_lengths_are_part_of_the_data_or_given(capsys: pytest.CaptureFixture[str]) -> None:
    run(*DOCUMENTS, "--run_folder=counted")
    assert Record.read(Path("counted/config.json")).end == 256
    assert "nats/token\t" in Path("counted/validation.txt").read_text()
    for path in Path("counted/samples").rglob("*.txt"):
        assert END not in path.read_text()

    run(*DOCUMENTS, "data.padding=conditioned", "--run_folder=given")
    assert Record.read(Path("given/config.json")).conditioned_on == "lengths"
    assert "documents_given_lengths:" in Path("given/log.txt").read_text()
    validation = Path("given/validation.txt").read_text()
    for words in (
        "Likelihood bound given lengths of 8",
        "nats/token given lengths\t",
        "] nats/token given lengths, ",
    ):
        assert words in validation
    assert "nats/token given lengths" in Path("given/results.json").read_text()
    samples = sorted(Path("given/samples").rglob("*.txt"))
    assert [path.read_bytes().decode(errors="replace").count(END) for path in samples] == [0, 0]

    capsys.readouterr()
    run(*SAMPLE, "--checkpoint=given", "--run_folder=nothing", code=1)
    assert "was trained with documents of given lengths" in capsys.readouterr().err
    run(*SAMPLE, "--checkpoint=counted", "lengths=(3,)", "--run_folder=nothing", code=1)
    assert "was not trained with documents of given lengths" in capsys.readouterr().err
    run(*SAMPLE, "--checkpoint=given", "lengths=(3,17)", "--run_folder=nothing", code=1)
    assert "lengths=(3, 17) exceeds the 16 tokens per sample" in capsys.readouterr().err
    run(*SAMPLE, "--checkpoint=given", "lengths=(3,16)", "format=ids", "--prefix=a", "--run_folder=ids")
    tokens = np.load("ids/samples.npy")
    assert [(row[length:] == 256).all() for row, length in zip(tokens, (3, 16, 3), strict=True)] == [True] * 3
    assert (tokens[:, 0] == ord("a")).all()

    run(*SAMPLE, "--checkpoint=counted", "format=jsonl", "--run_folder=lines")
    for line in map(json.loads, Path("lines/samples.jsonl").read_text().splitlines()):
        assert len(line["tokens"]) == 16
        before = line["tokens"][: line["tokens"].index(256)] if 256 in line["tokens"] else line["tokens"]
        assert line["text"] == bytes(before).decode(errors="replace")


def test_ids_without_a_tokenizer_have_no_figures_per_character() -> None:
    np.save("ids.npy", np.arange(2000) % 7)
    settings = [setting for setting in TINY if not setting.startswith(("data.", "evaluator.references"))]
    run(
        *settings,
        *("data=tokens", "data.path=ids.npy", "data.vocab=7", "data.tokenizer=None", "data.length=16"),
        "evaluator.references=true",
        *("training.steps=2", "training.eval_every=0", "--run_folder=run"),
    )
    assert "nats/token" in Path("run/validation.txt").read_text()
    for name in ("validation.txt", "results.json", "log.txt"):
        assert "character" not in Path("run", name).read_text()
    assert not [name for name, _ in points(Path("run")) if "character" in name]
    for path in Path("run/samples").rglob("*.txt"):
        assert set(path.read_text().split()) <= set("0123456")
    run(*SAMPLE, "--checkpoint=run", "--prompt=1 2 3[[*]]", "--run_folder=drawn")
    assert Path("drawn/samples/sample_0.txt").read_text().startswith("1 2 3 ")
