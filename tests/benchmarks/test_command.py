"""The command measures, prints a table and writes a file that says where its numbers come from. No times are asserted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import case_names, main
from benchmarks.cases import published
from benchmarks.chart import main as chart_of
from benchmarks.timing import interleaved, peak_bytes, summary
from tests.support.runs import ROOT

NEEDS_PROCESSES = ("head_memory", "startup")


def results(folder: Path) -> dict:
    (file,) = folder.glob("*.json")
    return json.loads(file.read_text())


@pytest.mark.parametrize("name", [name for name in case_names() if name not in NEEDS_PROCESSES])
def test_a_case_end_to_end(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_case(name, tmp_path, capsys)


@pytest.mark.slow  # fresh processes that import torch
@pytest.mark.parametrize("name", NEEDS_PROCESSES)
def test_a_case_of_fresh_processes_end_to_end(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_case(name, tmp_path, capsys)


def check_case(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--tiny", "--results", str(folder)]) == 0
    written = results(folder)
    assert written["mode"] == "tiny"
    assert written["versions"]["torch"] == torch.__version__
    assert len(written["commit"]) == 40
    assert written["machine"]["threads"] == torch.get_num_threads()
    assert list(written["results"]) == [name]
    shown = capsys.readouterr().out
    for one in written["results"][name]:
        assert min(one["values"]) <= one["lower"] <= one["median"] <= one["upper"] <= max(one["values"])
        assert one["unit"] == "% bias" or one["median"] > 0
        assert one["variant"] in shown
    quantities = {one["quantity"] for one in written["results"][name]}
    assert "ours" in quantities or "first step of a run" in quantities


def test_an_unknown_case_lists_the_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["head_los", "--results", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "Did you mean 'head_loss'?" in message
    assert all(name in message for name in case_names())
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cuda"]) == 1
    assert "no CUDA device" in capsys.readouterr().err


def test_what_is_out_of_memory_is_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(published.train_step, "naive_trainer", exhausted)
    sizes = replace(published.SIZES["tiny"], backend="")
    quantities = {one.quantity for one in published.measure(sizes, torch.device("cpu"))}
    assert quantities == {"ours", "ours, rate", "ours, peak memory", "target"}
    assert "naive: out of memory" in capsys.readouterr().out


def test_contenders_take_turns() -> None:
    turns: list[str] = []
    contenders = {name: lambda name=name: turns.append(name) for name in "ab"}
    seconds = interleaved(contenders, 2, torch.device("cpu"))
    assert turns == ["a", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_median_and_quartiles() -> None:
    found = summary("v", "q", "s", [4.0, 1.0, 3.0, 2.0, 5.0])
    assert (found.lower, found.median, found.upper) == (2.0, 3.0, 4.0)


def test_peak_memory_counts_what_was_freed() -> None:
    size = 2**27
    peak = peak_bytes(lambda: torch.ones(size // 4).sum(), torch.device("cpu"))
    assert 0.9 * size < peak < 1.3 * size


def test_a_chart_of_a_results_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (newest,) = (ROOT / "benchmarks" / "results").glob("2026-11-27t17-02*.json")
    target = tmp_path / "chart.svg"
    assert chart_of([str(newest), str(target)]) == 0
    assert "train_step  absorb fp32" in target.read_text()
    assert target.read_text() == (ROOT / "docs" / "performance.svg").read_text()
    (tmp_path / "bad.json").write_text('{"results": {}}')
    assert chart_of([str(tmp_path / "bad.json"), str(target)]) == 1
    assert "is not a results file of python -m benchmarks" in capsys.readouterr().err
