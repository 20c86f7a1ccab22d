"""Experiments of other families: their twins for a CPU train, are bounded and sampled; their processes are theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import duo_owt, gidd_owt, mdlm_owt, radd_owt, udlm_owt
from tests.support.runs import ROOT, TINY, metrics, run, write_text

FAMILIES = {"mdlm": mdlm_owt, "udlm": udlm_owt, "duo": duo_owt, "radd": radd_owt, "gidd": gidd_owt}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_twin_trains(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)
    file = ROOT / "experiments" / f"{family}_owt.py"
    run(f"--fdl_config={file}:twin", *TINY[1:], "training.steps=4", "checkpoints.every=0", "--run_folder=run")
    assert len([point for point in metrics("run") if "train/loss" in point]) == 2
    assert Path("run/validation.txt").read_text().count("bound") >= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_twin_differs_in_size_and_data_alone(family: str) -> None:
    whole, twin = FAMILIES[family].config(), FAMILIES[family].twin()
    for stage in ("graph", "noise", "head", "objective", "sampler"):
        assert getattr(whole, stage) == getattr(twin, stage), stage
    assert whole.model.reads == twin.model.reads
    assert (whole.training.times, whole.training.t_min) == (twin.training.times, twin.training.t_min)
