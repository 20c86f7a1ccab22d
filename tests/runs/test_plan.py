"""The plan of a run: operations counted on the network, and what the headers of experiments say of cost and cards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import pytest

from sedd_core.build.build import build
from sedd_core.cli.config import node_of
from sedd_core.cli.experiment import load_config
from sedd_core.cli.main import main
from sedd_core.model.memory import GIB
from sedd_core.runs import Train, budget
from sedd_core.training.cards import CARDS, peak_of

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
COST = re.compile(
    r"([\d.]+) GFLOP per (?:token|character), ([\de.]+) FLOP in total, about ([\d.]+) (hours|days) on (\d+) (\S+) "
    r"at (\d+)% of peak"
)
DEFAULT = ("absorb_small",)


def headers() -> list[str]:
    return sorted(path.stem for path in EXPERIMENTS.glob("*.py") if "GFLOP per" in path.read_text())


def test_experiments_state_their_cost() -> None:
    assert {*DEFAULT, "absorb_medium", "uniform_small", "uniform_medium", "lm1b_absorb"} <= {*headers()}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in DEFAULT else pytest.mark.slow) for name in headers()]
)
def test_a_header_is_the_plan(name: str) -> None:
    """To two digits, the operations on paper too: six per weight of a matrix product, twelve L D per block of attention."""
    found = COST.search(" ".join((EXPERIMENTS / f"{name}.py").read_text().split()))
    assert found, "the sentence has another form"
    giga, total, duration, unit, count, card, percent = found.groups()
    config = load_config(str(EXPERIMENTS / f"{name}.py"))
    config.ngpus = int(count)
    run = cast(Train, build(node_of(config)))
    cost, hours = budget.cost(run, run.vocab_size()[0]), {"hours": 1, "days": 24}[unit]
    assert float(percent) / 100 == budget.UTILIZATION
    assert cost.per_token == pytest.approx(float(giga) * 1e9, rel=0.02)
    assert cost.per_token * cost.tokens == pytest.approx(float(total), rel=0.04)
    assert 24 * cost.days(CARDS[card], int(count)) == pytest.approx(float(duration) * hours, rel=0.04)
    assert budget.sequences(run) <= budget.estimate(run, run.vocab_size()[0]).max_sequences(int(CARDS[card].gib * GIB))


def test_the_operations_are_those_on_paper() -> None:
    """absorb_small: 85.0M weights of blocks (adaLN's see one vector per sequence), half of the head's 38.6M, attention."""
    run = cast(Train, build(node_of(load_config(str(EXPERIMENTS / "absorb_small.py")))))
    blocks, head = 12 * 12 * 768**2, 50258 * 768
    by_hand = 6 * (blocks + 0.5 * head) + 12 * 12 * 1024 * 768
    assert budget.cost(run, 50257).per_token == pytest.approx(by_hand, rel=0.01)


def test_the_plan_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["launch.py", f"--fdl_config={EXPERIMENTS / 'text8_absorb.py'}", "--dry_run", "ngpus=8"]
    assert main([*command, "model.n_blocks=1"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"plan +[\d.]+ GFLOP per token, \S+ FLOP in total; assuming 40% of a card's bf16 peak:", shown)
    for name in CARDS:
        assert re.search(rf"1 {name}: \S+ tokens/s, \S+ days; 8 {name}: .*; at most \d+ sequences per pass", shown)
    assert main([*command, "model.n_blocks=1", "training.precision=fp32"]) == 0
    assert "tokens/s" not in capsys.readouterr().out, "the peaks are those of bf16"


def test_cards_are_known_by_torchs_names() -> None:
    assert peak_of("NVIDIA H100 80GB HBM3") == CARDS["H100-80GB"].flops
    assert peak_of("NVIDIA A100-SXM4-80GB") == CARDS["A100-80GB"].flops
    assert peak_of("NVIDIA GeForce RTX 4090") == CARDS["RTX 4090"].flops
    assert peak_of("Tesla V100-SXM2-32GB") is None, "it does not compute in bf16"
