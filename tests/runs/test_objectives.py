"""Objectives of an experiment's own: what a run says of a loss that is no bound, has no times, or the wrong shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.runs import ROOT, TINY, log, metrics, run, write_text

MINE = """
import fiddle as fdl
from experiments.quickstart import config as quickstart
from objective_score_entropy import ScoreEntropy
from sedd_core.stages import Objective

class Unweighted(ScoreEntropy):
    leaves_out = "the weight dsigma/dt"
    def bound_factor(self, t_min):
        return None
    def integrand(self, model, x, level, batch):
        return super().integrand(model, x, level, batch) / level.rate

class Timeless(Objective):
    leaves_out = "all but one noise level"
    def bound_factor(self, t_min):
        return None
    def losses(self, model, noise, batch, draws, t_min):
        return ScoreEntropy().losses(model, noise, batch, draws, t_min)

class Wide(Timeless):
    def losses(self, model, noise, batch, draws, t_min):
        return super().losses(model, noise, batch, draws, t_min)[:, None]

def config(name: str = "Unweighted"):
    run = quickstart()
    run.objective = fdl.Config(globals()[name])
    return run
"""


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))


def own(name: str, *settings: str, code: int = 0) -> None:
    run(f"--fdl_config=mine.py:config(name='{name}')", *TINY[1:], "training.steps=2", *settings, code=code)


def test_a_loss_that_is_no_bound_is_said_and_has_no_bits(capsys: pytest.CaptureFixture[str]) -> None:
    own("Unweighted", "--run_folder=run")
    said = capsys.readouterr()
    assert (
        "the training loss of Unweighted is not the likelihood bound (it differs by the weight" in said.out + said.err
    )
    assert not any("train/bits_per_character" in line for line in metrics("run"))
    assert any("train/loss" in line for line in metrics("run"))
    run(*TINY, "training.steps=2", "--run_folder=bound")
    assert any("train/bits_per_character" in line for line in metrics("bound"))
    assert "is not the likelihood bound" not in "".join(capsys.readouterr())


def test_a_loss_without_times_is_not_binned() -> None:
    own("Timeless", "--run_folder=run")
    figures = {name for line in metrics("run") for name in line}
    assert "train/loss" in figures
    assert not any("by_time" in name for name in figures)
    assert log("run")


def test_losses_of_another_shape_are_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    own("Wide", "--run_folder=run", code=1)
    error = capsys.readouterr().err
    assert "The objective Wide returned losses of shape [8, 1]; one per sequence is expected, [8]." in error
    assert "Traceback" not in error
