"""scripts/verify_families.py on a stand-in for the hub: what is as expected, what differs, what is not there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.golden_figures import GOLDEN
from tests.support.hub import local_hub

FILE = Path(__file__).parents[2] / "scripts" / "verify_families.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_families", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "verify_families", module)  # NamedTuple looks its annotations up there
    spec.loader.exec_module(module)
    return module


def test_the_script(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = GOLDEN / "models"
    local_hub(monkeypatch, tmp_path, {"a/absorb": models / "absorb_scaled", "a/uniform": models / "uniform"})
    absorb = script.Expected("a/absorb", "graph_absorb", "head_score", 51, "", "LAMBADA 50.92")
    uniform = script.Expected("a/uniform", "graph_absorb", "head_mean", 51, "")
    nothing = script.Expected("a/nothing", "graph_absorb", "head_mean", 51)
    monkeypatch.setattr(script, "RELEASED", (absorb, uniform, nothing))
    assert script.main(["absorb"]) == 0
    assert "1 of 1 as expected" in capsys.readouterr().out
    (tmp_path / "text.txt").write_text("some text")
    assert script.main([f"--text={tmp_path / 'text.txt'}"]) == 1
    out = capsys.readouterr().out
    assert "no tokenizer" in out
    assert "LAMBADA 50.92" in out
    for words in ("its graph is graph_uniform, not graph_absorb", "its head is head_score, not head_mean"):
        assert words in out
    assert "could not be fetched from the Hugging Face hub (there is no a/nothing)" in out
    assert "1 of 3 as expected" in out
