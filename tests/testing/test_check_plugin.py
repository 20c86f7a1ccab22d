"""`python -m sedd_core check`: every stage has a check, and a fault comes with numbers and the place to look at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from sedd_core import UserError, plugin
from sedd_core.cli import check
from sedd_core.cli.check import main
from sedd_core.registry.table import STAGES
from sedd_core.stages import InterpolatingGraph, Monitor, Noise, NoiseLevel
from sedd_core.testing import check_monitor, check_plugin
from sedd_core.testing.by_name import CHECKS

UNIFORM = Path(__file__).parents[1] / "golden" / "models" / "uniform"


class Skewed(InterpolatingGraph):
    """A process that loses a tenth of its probability."""

    def __init__(self, *, vocab_size: int) -> None:
        super().__init__(torch.ones(vocab_size, dtype=torch.float64) / vocab_size, vocab_size=vocab_size)

    def transition(self, x: torch.Tensor, level: NoiseLevel, since: NoiseLevel | None = None) -> torch.Tensor:
        return 0.9 * super().transition(x, level, since)


class Unfinished(Noise):
    """A schedule that is not written."""

    def forward(self, t: torch.Tensor) -> NoiseLevel:
        raise NotImplementedError("total noise at t")

    def time(self, sigma: torch.Tensor) -> torch.Tensor:
        return sigma


def test_every_stage_has_a_check() -> None:
    assert set(CHECKS) == set(STAGES)


@pytest.mark.parametrize("name", ["noise_loglinear", "graph_absorb", "head_score", "monitor_tensorboard"])
def test_a_sound_plugin_passes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name]) == 0
    assert f"ok {name}: " in capsys.readouterr().out


def test_a_format_is_checked_on_its_examples() -> None:
    assert main(["format_sedd", str(UNIFORM)]) == 0
    with pytest.raises(UserError, match="checked on checkpoints in its layout"):
        main(["format_sedd"])


def test_a_broken_formula_is_named_with_numbers_and_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "plugin", lambda name: Skewed)
    assert main(["graph_absorb"]) == 1
    out = capsys.readouterr().out
    assert "!! graph_absorb: row sums of transition (1): off by 0.1, more than the tolerance 1e-10" in out
    line = Skewed.transition.__code__.co_firstlineno
    assert f"Look at Skewed.transition (test_check_plugin.py:{line}): " in out
    assert "docs/contracts.md, section graph" in out


def test_what_is_not_written_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(check, "plugin", lambda name: Unfinished)
    assert main(["noise_loglinear"]) == 1
    out = capsys.readouterr().out
    assert "NotImplementedError: total noise at t" in out
    assert "Look at Unfinished.forward" in out
    assert "Unfinished.time" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "usage: python -m sedd_core check"),
        (["graph_absorbed"], "There is no plugin 'graph_absorbed'. Did you mean 'graph_absorb'"),
        (["noise_loglinear", "epsilon=1"], "takes no 'epsilon'; it takes: eps"),
        (["noise_loglinear", "eps=much"], "eps takes float, not 'much'"),
    ],
)
def test_a_mistake_is_one_message(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        main(words)
    assert message in str(error.value)


def test_an_argument_without_a_value_is_asked_for() -> None:
    class Scaled(Unfinished):
        def __init__(self, *, scale: float) -> None:
            super().__init__()

    with pytest.raises(UserError, match="Scaled needs its argument scale: add scale="):
        check_plugin(Scaled)


def test_partners_are_chosen_by_name() -> None:
    with pytest.raises(UserError, match="There is no plugin 'graph_none'"):
        check_plugin("sampler_euler", partners={"graph": "graph_none"})


def test_a_class_of_no_stage_is_refused() -> None:
    with pytest.raises(UserError, match="not a plugin's class"):
        check_plugin(int)


class Lines(Monitor):
    """A monitor of one file."""

    name = "run/lines.txt"

    def start(self, folder: Path, step: int) -> None:
        self.file = (folder.parent / self.name).open("a")

    def scalars(self, values: Any, step: int) -> None:
        self.file.write(f"{step} {dict(values)}\n")

    def text(self, name: str, text: str, step: int) -> None:
        self.file.write(text)

    def hyperparameters(self, values: Any, figures: Any) -> None:
        self.file.write(f"{values} {figures}")

    def close(self) -> None:
        self.file.close()


class Stray(Lines):
    """It writes beside the run folder."""

    name = "lines.txt"


class Early(Lines):
    """It writes when it is made."""

    def __init__(self) -> None:
        Path("run", "early").touch()


class Picky(Lines):
    """It refuses a loss that is not finite."""

    def scalars(self, values: Any, step: int) -> None:
        assert not any(map(math.isnan, values.values())), "a value is NaN"


@pytest.mark.parametrize(
    ("cls", "message"),
    [(Stray, "must contain a file"), (Early, "construction must access no files"), (Picky, "a value is NaN")],
)
def test_a_fault_of_a_monitor_is_found(cls: type[Monitor], message: str) -> None:
    check_monitor(Lines)
    check_monitor(plugin("monitor_tensorboard"))
    with pytest.raises(AssertionError, match=message):
        check_monitor(cls)
