"""experiments/adapt_ar.py: a causal model made on the spot is adapted; it beats training from scratch."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from safetensors.torch import load_file

from scripts.causal_model import train
from tests.support.runs import ROOT, run

EXPERIMENT = f'--fdl_config={ROOT / "experiments" / "adapt_ar.py"}:twin(base="causal")'
QUICK = ("evaluator.sequences=4", "evaluator.points=2", "samples.count=1", "samples.steps=4", "training.batch_size=4")


@pytest.mark.slow
def test_the_twin_starts_from_the_causal_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one update of a tiny rate, the weights are the causal model's, and those of the mask their mean."""
    monkeypatch.chdir(tmp_path)
    train(Path("causal"), steps=2, length=16)
    run(EXPERIMENT, *QUICK, "data.length=16", "training.steps=1", "optimizer.lr=1e-9", "--run_folder=run")
    base = load_file("causal/model.safetensors")
    own = load_file("run/checkpoints/newest/model.safetensors")
    embeddings = own["trunk.embed_tokens.weight"]
    assert (embeddings[:-1] - base["model.embed_tokens.weight"]).abs().max() < 1e-6
    assert (embeddings[-1] - base["model.embed_tokens.weight"].mean(0)).abs().max() < 1e-6
    name = "layers.1.self_attn.q_proj.weight"
    assert (own[f"trunk.{name}"] - base[f"model.{name}"]).abs().max() < 1e-6


@pytest.mark.slow
def test_adaptation_beats_training_from_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds after equal updates, means over three seeds: further apart than three standard errors of both."""
    monkeypatch.chdir(tmp_path)
    train(Path("causal"), steps=800)
    arms = ("init_from=causal,None", "seed=0,1,2", "checkpoints.every=0", "samples.count=1", "samples.steps=4")
    run(EXPERIMENT, *arms, "--run_folder=sweep")
    with Path("sweep/sweep.csv").open() as file:
        means = {row["init_from"]: row for row in csv.DictReader(file) if row["seed"] == "mean"}
    figure = next(name for name in next(iter(means.values())) if "bound" in name and "error" not in name)
    values = {name: float(row[figure]) for name, row in means.items()}
    errors = [
        float(value) for row in means.values() for name, value in row.items() if name == f"{figure} standard error"
    ]
    assert values["causal"] < values["None"] - 3 * sum(errors), values
