"""What a run does besides learning: bad numbers, precision, schedules, profiles, several validation sets, figures."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import string
import time
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch._dynamo.utils import counters

from sedd_core import UserError, load_model, plugin
from sedd_core.build.build import build
from sedd_core.data import packed
from sedd_core.data.cache import Corpus
from sedd_core.data.packed import PackedData
from sedd_core.evaluation import bound, report
from sedd_core.evaluation.bound import Terms
from sedd_core.evaluation.ngrams import ngram_bits_per_character
from sedd_core.record.record import Record
from sedd_core.runs.sets import validation_sets
from sedd_core.training.loop import Loop
from sedd_core.training.loss import Loss
from sedd_core.training.settings import Optimizer, Training
from sedd_core.training.trainer import Trainer
from tests.support.runs import ROOT, TINY, log, losses, metrics, points, run, weights, write_text


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)


def spoil(monkeypatch: pytest.MonkeyPatch, bad: set[int]) -> None:
    """The loss is not a number in these updates; the first call is the rehearsal's."""
    forward, calls = Loss.forward, iter(range(-1, 1000))

    def spoiled(self: Loss, *arguments: object) -> tuple:
        loss, losses = forward(self, *arguments)
        return (loss * math.nan, losses * math.nan) if next(calls) in bad else (loss, losses)

    monkeypatch.setattr(Loss, "forward", spoiled)


def test_a_loss_that_is_no_number_leaves_the_weights_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, {2, 3})
    run(*TINY, "--run_folder=run", "optimizer.warmup=20")
    assert re.findall(r"skipped (\d+)", "".join(log("run"))) == ["0", "2", "2", "2", "2", "2"]
    assert all(value.isfinite().all() for value in weights("run").values())
    state = torch.load("run/checkpoints/newest/trainer.pt", weights_only=True)["trainer"]
    assert state["updates"] == 10  # neither the average nor the warm-up moved on
    assert state["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.002 * 11 / 20)


def test_many_in_a_row_stop_the_run_and_keep_the_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(monkeypatch, set(range(4, 100)))
    run(*TINY, "--run_folder=run", "training.bad_steps=3", code=1)
    error = capsys.readouterr().err
    assert "not finite in 3 consecutive updates" in error
    assert "Traceback" not in error
    kept = load_file("run/bad_step_000000006_rank_0.safetensors")
    assert kept["tokens"].shape == (8, 16)
    assert kept["times"].shape == (8,)


def test_lower_precision_is_close_and_sums_stay_exact() -> None:
    run(*TINY, "--run_folder=full", "training.precision=fp32", "model.dropout=0")
    run(*TINY, "--run_folder=half", "training.precision=bf16", "model.dropout=0")
    apart = (losses("full") - losses("half")).abs() / losses("full")
    assert apart.max() < 0.05
    assert any(not torch.equal(value, weights("half")[name]) for name, value in weights("full").items())
    assert all(value.dtype == torch.float32 for value in weights("half").values())


@pytest.mark.parametrize(("schedule", "middle"), [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)])
def test_schedules(schedule: str, middle: float) -> None:
    settings = Optimizer(lr=2.0, warmup=4, schedule=schedule)
    seen = [2.0 * settings.factor(step, 100) for step in range(100)]
    assert seen[1] == pytest.approx(2.0 * 0.5, rel=0.02)
    assert seen[50] == pytest.approx(2.0 * middle)
    assert seen[99] == pytest.approx(
        {"constant": 2.0, "linear": 0.02, "cosine": 2 * (1 + math.cos(0.99 * math.pi)) / 2}[schedule]
    )


@pytest.mark.filterwarnings("error:Profiler won't be using warmup")
@pytest.mark.parametrize("first", [1, 3, 11])
def test_a_profile_of_some_steps(first: int) -> None:
    """The run goes on afterwards, and when it is resumed past them."""
    run(*TINY, "--run_folder=run", f"training.profile=({first}, {first + 1})")
    events = json.loads(Path("run/profile/trace.json").read_text())["traceEvents"]
    names = {event["name"] for event in events if event.get("name", "").startswith("ProfilerStep")}
    assert len(names) == 2
    run("--resume", "--run_folder=run", "training.steps=14")


def test_a_profile_past_the_end_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--dry_run", "training.profile=(11, 20)")
    assert "warning: training.profile=(11, 20) ends after the last step, 12" in capsys.readouterr().err


MINE = """
from dataclasses import dataclass

import fiddle as fdl
import torch
from experiments.quickstart import config as quickstart
from sedd_core.training import Optimizer

@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    '''torch's SGD; the learning rate halves every four updates.'''
    momentum: float = 0.9
    lr: float = 0.1
    def make(self, parameters):
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum)
    def factor(self, step, steps):
        return 0.5 ** (step // 4)

def config():
    run = quickstart()
    run.optimizer = fdl.Config(SGD, momentum=0.5)
    return run
"""


def test_an_optimizer_of_the_experiments_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    mine = ["--fdl_config=mine.py", *(setting for setting in TINY[1:] if "warmup" not in setting)]
    run(*mine, "--run_folder=whole")
    rates = [float(found) for line in log("whole") for found in re.findall(r"  lr (\S+)", line)]
    assert rates == [0.1, 0.05, 0.05, 0.025, 0.025, 0.0125]  # of the next update
    state = torch.load("whole/checkpoints/newest/trainer.pt", weights_only=True)["trainer"]["optimizer"]
    assert state["param_groups"][0]["momentum"] == 0.5
    run(*mine, "--run_folder=part", "training.steps=6")
    capsys.readouterr()
    run("--resume", "--run_folder=part", "training.steps=12", "--trust", code=1)  # a schedule that may know the end
    assert "training.steps makes this a different run" in capsys.readouterr().err
    run("--resume", "--run_folder=part", "training.steps=12", "--trust", "--allow_changes")
    assert all(torch.equal(value, weights("whole")[name]) for name, value in weights("part").items())
    load_model("whole")  # needs no optimizer, and so no trust
    run(*TINY, "--run_folder=part", "--resume", "training.steps=14", "--trust", "--allow_changes", code=1)
    assert "was saved by another optimizer" in capsys.readouterr().err


def test_compiling_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compiler's front end alone, which is what may break on our code; inductor is a slow test."""
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled(self, backend="aot_eager"))
    run(*TINY, "--run_folder=plain", "model.dropout=0")
    torch._dynamo.reset()
    counters.clear()
    run(*TINY, "--run_folder=compiled", "model.dropout=0", "training.compile=true")
    assert counters["stats"]["unique_graphs"] > 0  # compiled indeed: torch passes a network over without a word
    assert torch.allclose(losses("plain"), losses("compiled"), rtol=1e-3)
    assert weights("plain").keys() == weights("compiled").keys()


def test_several_validation_sets(capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--run_folder=run", "training.steps=1")
    record = Record.read(Path("run/config.json"))
    record.run.args["more_valid"] = (deepcopy(record.node("data")),)
    record.write(Path("two.json"))
    run("--fdl_config_file=two.json", "--run_folder=two")
    out = capsys.readouterr().out
    assert out.count("Likelihood bound of 8 sequences of") == 3
    figures = json.loads(Path("two/results.json").read_text())
    (name,) = {figure["set"] for figure in figures[:2]}
    assert {figure["set"] for figure in figures[2:]} == {f"{name}_1"}
    for kind, unit in ((0, "nats/token"), (1, "bits/character")):
        own, other = figures[kind], figures[2 + kind]
        assert own == {**other, "set": name}
        assert (own["name"], own["unit"], own["n"]) == ("bound", unit, 8)
    report = Path("two/validation.txt").read_text().splitlines()
    row = [line for line in report if line.startswith("bound\t")][-1].split("\t")
    assert row[:3] == ["bound", *(f"{f['value']:.4f} ± {f['standard_error']:.4f}" for f in figures[2:])]
    Path("other.txt").write_text("another alphabet: xyz 123\n" * 40)
    record.run.args["more_valid"][0].args["paths"] = ("other.txt",)
    other = build(record.run)
    with pytest.raises(UserError, match="and the training data have different tokenizers"):
        validation_sets(other.data.codec(), other.more_valid, "the training data", "omit it")


def test_validation_takes_sequences_from_all_over_the_split_and_n_grams_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four of the sequences of 16 characters, a quarter of the split from each other."""
    text = Path("text.txt").read_text()
    Path("text.txt").write_text(string.ascii_lowercase + text + string.ascii_lowercase * 12)
    seen: list[Tensor] = []
    heard: list[list[str]] = []

    def terms(*arguments: Any, **named: Any) -> Terms:
        seen.append(arguments[2].tokens)
        return bound_terms(*arguments, **named)

    def bits(train: str, valid: list[str], order: int) -> float:
        heard.append(valid)
        return ngram_bits_per_character(train, valid, order)

    bound_terms = bound.terms
    monkeypatch.setattr(bound, "terms", terms)
    monkeypatch.setattr(report, "ngram_bits_per_character", bits)
    settings = ("training.steps=1", "evaluator.sequences=4", "evaluator.references=true", "data.valid_fraction=0.1")
    run(*TINY, "--run_folder=run", *settings)
    text = Path("text.txt").read_text()
    valid = text[round(len(text) * 0.9) :]
    expected = [valid[16 * (i * (len(valid) // 16) // 4) :][:16] for i in range(4)]
    assert heard == [expected] * 3
    assert len({tuple(row) for row in torch.cat(seen).tolist()}) == len(set(expected)) == 4
    assert "95 % interval of the bound (Student's t, n = 4): [" in capsys.readouterr().out


def test_what_the_monitor_is_told() -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(*TINY, "--run_folder=run")
    events = EventAccumulator("run/tensorboard").Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"train/loss", "train/grad_norm", "train/clipped", "train/ema_distance", "train/lr"} <= scalars
    assert {"train_speed/tokens_per_second", "train_speed/data_wait", "train_loss_by_time/0.0-0.1"} <= scalars
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4, 6, 8, 10, 12]
    (valid,) = (name for name in scalars if name.startswith("valid_") and name.endswith("/nats_per_token"))
    assert [event.step for event in events.Scalars(valid)] == [4, 8, 12]
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert len(list(Path("run/tensorboard").iterdir())) == 1  # no run beside the run
    shutil.rmtree("run/checkpoints")
    run("--resume", "--run_folder=run")  # from the start: what was told before is forgotten
    events = EventAccumulator("run/tensorboard").Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4, 6, 8, 10, 12]
    assert {"config/text_summary", "command/text_summary", "samples/0/text_summary"} <= set(events.Tags()["tensors"])


def test_the_same_figures_are_lines_for_machines() -> None:
    """Every point that the monitor has (in float32), and nothing that is not JSON."""
    run(*TINY, "--run_folder=run", "training.steps=5")
    lines = [
        json.loads(line, parse_constant=pytest.fail) for line in Path("run/metrics.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines] == [2, 4, 4, 5, 5]
    assert all(datetime.fromisoformat(line["time"]).utcoffset() is not None for line in lines)
    found = {
        (name, line["step"]): value for line in lines for name, value in line.items() if name not in ("step", "time")
    }
    told = {key: value for key, value in points(Path("run")).items() if isinstance(value, float)}
    assert found.keys() == told.keys()
    assert all(told[key] == pytest.approx(value, rel=1e-6) for key, value in found.items())
    stamps = [
        re.search(r"  at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d(  left .*)?$", line)
        for line in Path("run/log.txt").read_text().splitlines()
    ]
    assert [bool(stamp and stamp[1]) for stamp in stamps] == [True, True, False, True, False]


def test_the_last_steps_are_logged_though_they_fill_no_interval() -> None:
    """And a run that is made longer logs what one that was as long from the start logs."""
    run(*TINY, "--run_folder=each", "training.log_every=1", "training.steps=7")
    run(*TINY, "--run_folder=run", "training.log_every=4", "training.steps=7")
    by_step = [
        {line["step"]: line["train/loss"] for line in metrics(name) if "train/loss" in line} for name in ("each", "run")
    ]
    assert list(by_step[1]) == [4, 7]
    assert by_step[1][7] == pytest.approx(sum(by_step[0][step] for step in (5, 6, 7)) / 3)
    run("--resume", "--run_folder=run", "training.steps=8")
    run(*TINY, "--run_folder=whole", "training.log_every=4", "training.steps=8")
    assert [line for line in metrics("run") if line["step"] != 7] == metrics("whole")


def test_the_time_left_is_of_the_steps_since_resuming(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop.__new__(Loop)
    loop.training, loop._started = Training(steps=130, batch_size=8), (1000.0, 50)
    monkeypatch.setattr(time, "monotonic", lambda: 1100.0)
    assert loop.seconds_left(100) == 60


def test_long_lines_of_a_text_go_on_in_the_next(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monitor = plugin("monitor_tensorboard")()
    monitor.start(tmp_path, 0)
    monitor.text("sample", "  two  words\n\n" + "x" * 130, 3)
    monitor.close()
    (event,) = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Tensors("sample/text_summary")
    shown = event.tensor_proto.string_val[0].decode()
    assert shown == "      two  words\n    \n    " + "x" * 110 + "\n    " + "x" * 20


def test_losses_by_time_add_up_to_the_loss() -> None:
    seen = []
    original = Trainer.step

    def step(self: Trainer, *arguments: object) -> object:
        seen.append(original(self, *arguments))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        run(*TINY, "--run_folder=run")
    for result in seen:
        assert sum(result.tokens_by_time_bin) == 8 * 16
        assert sum(result.loss_by_time_bin) / 8 == pytest.approx(result.loss)


def test_caches_are_checked_before_any_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every process: one that has opened a damaged cache would keep it, whatever the checking process builds."""
    order: list[str] = []
    check, opened = PackedData.check_cache, packed.cached_corpus

    def checking(self: PackedData) -> None:
        order.append("checked")
        check(self)

    def opening(*arguments: Any) -> Corpus:
        order.append("opened")
        return opened(*arguments)

    monkeypatch.setattr(PackedData, "check_cache", checking)
    monkeypatch.setattr(packed, "cached_corpus", opening)
    run(*TINY, "--run_folder=run", "training.steps=1")
    assert order[0] == "checked"
    assert order.count("checked") == 1
    assert order.count("opened") == 2


def test_every_file_of_a_run_follows_the_umask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever writes it: safetensors makes files that only their owner can read."""
    spoil(monkeypatch, set(range(4, 100)))
    sample = [f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "--checkpoint=run", "steps=2", "count=1"]
    before = os.umask(0o027)
    try:
        run(*TINY, "--run_folder=run", "training.bad_steps=3", "training.profile=(2, 4)", code=1)
        run(*sample, "trajectory=true", "--run_folder=shown")
        run(*sample, "format=ids", "--run_folder=table")
    finally:
        os.umask(before)
    paths = [path for name in ("run", "shown", "table") for path in Path(name).rglob("*") if not path.is_symlink()]
    assert {path.suffix for path in paths} >= {".safetensors", ".npy", ".html", ".json", ".txt", ".pt"}
    assert any("bad_step" in path.name for path in paths)
    assert any(path.name == "trace.json" for path in paths)
    odd = {str(path): oct(path.stat().st_mode & 0o777) for path in paths}
    assert not {path: mode for path, mode in odd.items() if mode != ("0o750" if Path(path).is_dir() else "0o640")}
    assert not [path for path in paths if path.suffix == ".tmp"]
