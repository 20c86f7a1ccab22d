"""Runs whose numbers go bad, and going on from an earlier step or with other settings: what is kept, and what is said."""

from __future__ import annotations

import json
import math
import os
import re
import signal
from pathlib import Path

import pytest
import torch

from sedd_core import UserError, checkpoints
from sedd_core.build.workspace import Workspace
from sedd_core.record import Change, Node, Record
from sedd_core.training.loss import Loss
from sedd_core.training.meter import Meter
from sedd_core.training.trainer import StepResult, Trainer
from tests.support.runs import TINY, assert_same, log, run, weights, write_text


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)


def saved(folder: str = "run") -> list[int]:
    """The steps of a run's checkpoints."""
    return [checkpoints.step_of(one) for one in reversed(checkpoints.steps(Path(folder)))]


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def ruin(patch: pytest.MonkeyPatch, number: int) -> None:
    """The update of this number is finite and ruins the weights, so that all later losses are not finite."""
    forward, update, calls = Loss.forward, Trainer.update, iter(range(1000))
    ruined: list[int] = []

    def spoiled(self: Loss, *arguments: object) -> tuple:
        loss, losses = forward(self, *arguments)
        return (loss * math.nan, losses * math.nan) if ruined else (loss, losses)

    def ruining(*arguments: object) -> StepResult:
        result = update(*arguments)
        if next(calls) == number - 1:
            ruined.append(number)
        return result

    patch.setattr(Loss, "forward", spoiled)
    patch.setattr(Trainer, "update", ruining)


def test_the_checkpoint_before_the_ruining_update_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        ruin(patch, 6)
        every = ["checkpoints.every=1", "checkpoints.keep=1", "training.bad_steps=4", "training.eval_every=0"]
        run(*TINY, "--run_folder=run", *every, code=1)
    assert saved() == [5, 6]  # 6 holds the ruined weights
    error = capsys.readouterr().err
    assert "The last good checkpoint is run/checkpoints/step_000000005." in error
    command = "python launch.py --run_folder=run --resume=5 --allow_changes optimizer.lr=0.0002\n"
    assert error.endswith(command)
    run(*command.split()[2:])
    assert saved() == [11, 12]
    assert [path.name for path in Path("run/checkpoints/superseded").iterdir()] == ["step_000000006"]
    assert Record.read(Path("run/config.json")).history == [Change(5, "optimizer.lr", "0.002", "0.0002")]


def test_with_one_to_keep_the_one_before_goes_when_an_update_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[list[int]] = []
    update = Trainer.update

    def looking(*arguments: object) -> StepResult:
        there.append(saved())
        return update(*arguments)

    monkeypatch.setattr(Trainer, "update", looking)
    run(*TINY, "--run_folder=run", "checkpoints.every=2", "checkpoints.keep=1", "training.steps=6")
    assert there == [[], [], [2], [2], [2, 4], [4]]
    assert saved() == [4, 6]


def test_no_checkpoint_is_made_of_weights_that_a_rate_too_high_has_ruined(capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--run_folder=run", "training.steps=8", "checkpoints.every=4")
    hot = ["optimizer.lr=1e37", "--allow_changes", "training.steps=40", "training.eval_every=0"]
    run("--resume", "--run_folder=run", *hot, "training.log_every=1", code=1)
    assert saved() == [4, 8]
    error = capsys.readouterr().err
    assert "not finite in 10 consecutive updates" in error
    assert "The last good checkpoint is run/checkpoints/step_000000008." in error
    assert "--resume=8 --allow_changes optimizer.lr=" in error
    skipping = log("run")[-1]
    assert " loss " not in skipping
    assert " grad_norm " not in skipping
    assert skipping.endswith("  skipped_share 1")


def spoil(patch: pytest.MonkeyPatch, bad: set[int]) -> None:
    """The loss is not a number in these updates, from 0; the first call is the rehearsal's."""
    forward, calls = Loss.forward, iter(range(-1, 1000))

    def spoiled(self: Loss, *arguments: object) -> tuple:
        loss, losses = forward(self, *arguments)
        return (loss * math.nan, losses * math.nan) if next(calls) in bad else (loss, losses)

    patch.setattr(Loss, "forward", spoiled)


def test_a_save_that_falls_due_meanwhile_follows_the_next_update(monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, {5, 6})
    run(*TINY, "--run_folder=run", "training.eval_every=0", "training.steps=9", "checkpoints.keep=9")
    assert saved() == [3, 8, 9]
    assert re.findall(r"skipped_share (\S+)", " ".join(log("run"))) == ["0.5", "0.5"]


def test_a_stop_meanwhile_saves_nothing_and_says_from_where_it_continues(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(monkeypatch, set(range(4, 20)))
    step, calls = Trainer.step, iter(range(100))

    def told(*arguments: object) -> StepResult:
        if next(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    monkeypatch.setattr(Trainer, "step", told)
    run(*TINY, "--run_folder=run", "training.eval_every=0", code=143)
    assert saved() == [3]
    out = capsys.readouterr().out
    assert "nothing was saved, because the last" in out
    assert "To continue from step 3: python launch.py --run_folder=run --resume\n" in out
    assert "Stopped and saved" not in out


def test_a_run_does_not_end_on_an_update_that_was_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(monkeypatch, {11})
    run(*TINY, "--run_folder=run", code=1)
    assert saved() == [6, 9]
    assert "not finite in 1 consecutive updates" in capsys.readouterr().err
    assert not Path("run/results.json").exists()


def test_a_window_of_skipped_updates_has_no_loss() -> None:
    meter = Meter.__new__(Meter)
    meter.skipped = meter.in_a_row = 0
    meter.clear()
    meter.add(StepResult(math.nan, math.nan, [0.0] * 10, [0.0] * 10, False, 0.0, False))
    assert meter.mean_loss() is None


def test_a_run_goes_on_from_an_earlier_step(capsys: pytest.CaptureFixture[str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(*TINY, "--run_folder=whole", "checkpoints.keep=9")
    run(*TINY, "--run_folder=run", "checkpoints.keep=9")
    append(Path("run/log.txt"), "a note\n")
    hot = ["optimizer.lr=0.004", "--allow_changes"]
    run("--resume=6", "--run_folder=run", *hot, "training.steps=9")
    assert saved() == [3, 6, 9]
    aside = sorted(path.name for path in Path("run/checkpoints/superseded").iterdir())
    assert aside == ["step_000000009", "step_000000012"]
    assert "moved    to run/checkpoints/superseded/step_000000012" in capsys.readouterr().out
    lines = Path("run/log.txt").read_text().splitlines()
    assert "a note" in lines
    assert "changed after step       6  optimizer.lr: 0.002 -> 0.004" in lines
    assert not [line for line in lines if line.startswith("step      1")]
    events = EventAccumulator("run/tensorboard").Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4, 6, 8, 9]

    run("--resume", "--run_folder=run", "training.steps=12")  # follows the new branch
    assert Record.read(Path("run/checkpoints/newest/config.json")).history == [
        *(Change(6, "optimizer.lr", "0.002", "0.004"), Change(6, "training.steps", "12", "9")),
        Change(9, "training.steps", "9", "12"),
    ]
    assert not torch.equal(weights("run")["vocab_embed.embedding"], weights("whole")["vocab_embed.embedding"])
    run("--resume=6", "--run_folder=run")  # to before the change: with the settings of then
    assert Record.read(Path("run/config.json")).history == []
    assert "changed" not in Path("run/config.txt").read_text()
    assert "changed" not in Path("run/log.txt").read_text()
    assert_same("run", "whole")
    aside = sorted(path.name for path in Path("run/checkpoints/superseded").iterdir())
    assert aside == [f"step_{step}" for step in ("000000009", "000000009_2", "000000012", "000000012_2")]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("7", r"run has no checkpoint of step 7. Steps with a checkpoint: 3, 6\."),
        ("0", "--resume=2500"),
        ("-3", "--resume=2500"),
        ("six", "--resume=2500"),
        ("3", r"ema.safetensors is damaged or missing.*Choose another step"),
        ("6", "has reached step 6"),
    ],
)
def test_a_step_that_cannot_be_resumed_from(step: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--run_folder=run", "training.steps=6", "training.eval_every=0")
    Path("run/checkpoints/step_000000003/ema.safetensors").unlink()
    run(f"--resume={step}", "--run_folder=run", *(["training.steps=5"] if step == "6" else []), code=1)
    error = capsys.readouterr().err
    assert re.search(words, error), error
    assert saved() == [3, 6]


def test_a_link_to_the_newest_checkpoint_is_no_condition(capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--run_folder=run", "training.steps=3")
    Path("run/checkpoints/newest").unlink()
    Path("run/checkpoints/newest").symlink_to("step_000000099")
    run("--resume", "--run_folder=run", "training.steps=6")
    assert Path("run/checkpoints/newest").resolve().name == "step_000000006"
    Path("run/checkpoints/newest").unlink()
    Path("run/checkpoints/newest").mkdir()  # as copying without links leaves it
    run("--resume", "--run_folder=run", "training.steps=9")
    assert "warning: run/checkpoints/newest: Is a directory" in capsys.readouterr().out
    assert saved() == [6, 9]


def test_what_a_resumed_run_changed_is_in_its_record(capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--run_folder=run", "training.steps=6")
    run("--resume", "--run_folder=run", "training.steps=9", "noise=geometric", "--allow_changes")
    history = [
        Change(6, "noise", "noise_loglinear()", "noise_geometric()"),
        Change(6, "training.steps", "6", "9"),
    ]
    for file in ("config.json", "checkpoints/newest/config.json"):
        assert Record.read(Path("run", file)).history == history
    assert Record.read(Path("run/checkpoints/step_000000006/config.json")).history == []
    config, text = Path("run/config.txt").read_text(), Path("run/log.txt").read_text()
    for line in ("noise: noise_loglinear() -> noise_geometric()", "training.steps: 6 -> 9"):
        assert f"after step 6 {line}\n" in config
        assert f"changed after step       6  {line}\n" in text
    run("--resume", "--run_folder=run", "training.steps=9")  # nothing more is changed, or said twice
    assert Path("run/config.txt").read_text() == config
    assert Path("run/log.txt").read_text().count("changed after step") == 2
    capsys.readouterr()


def test_changes_whose_steps_were_lost_are_no_history() -> None:
    """Killed before a checkpoint, the run tried a rate that no step of it has."""
    run(*TINY, "--run_folder=run", "training.steps=6")
    record = Record.read(Path("run/config.json"))
    record.node("optimizer").args["lr"] = 0.5
    record.history = [Change(6, "optimizer.lr", "0.002", "0.5")]
    record.write(Path("run/config.json"))
    append(Path("run/log.txt"), "changed after step       6  optimizer.lr: 0.002 -> 0.5\n")
    run("--resume", "--run_folder=run", "training.steps=8", "optimizer.lr=0.001", "--allow_changes")
    changes = [str(change) for change in Record.read(Path("run/config.json")).history]
    assert changes == ["after step 6 optimizer.lr: 0.002 -> 0.001", "after step 6 training.steps: 6 -> 8"]
    assert "-> 0.5" not in Path("run/log.txt").read_text()


def test_another_content_of_the_data_is_history(capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--run_folder=run", "training.steps=3")
    Path("text.txt").write_text(Path("text.txt").read_text().replace("cat", "tac"))
    run("--resume", "--run_folder=run", "training.steps=6", "--allow_changes")
    (change, _) = sorted(Record.read(Path("run/config.json")).history, key=lambda change: change.path)
    assert (change.step, change.path) == (3, "data (its content)")
    run("--fdl_config_file=run", "--run_folder=again", code=1)
    assert "data (its content)" in capsys.readouterr().err


def test_a_changed_run_is_not_run_again_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--run_folder=run", "training.steps=4")
    run("--resume", "--run_folder=run", "training.steps=6", "checkpoints.keep=3")
    run("--fdl_config_file=run", "--run_folder=same", "--dry_run")  # harmless ones do not count
    run("--resume", "--run_folder=run", "training.steps=8", "optimizer.lr=0.004", "--allow_changes")
    capsys.readouterr()
    for arguments in (["--run_folder=again"], ["--run_folder=again", "--resume"], ["--dry_run"]):
        run("--fdl_config_file=run", *arguments, code=1)
        error = capsys.readouterr().err
        assert "were changed during it: after step 6 optimizer.lr: 0.002 -> 0.004. " in error
        assert "--allow_changes" in error
        assert "training.steps" not in error
    assert not Path("again").exists()
    run("--fdl_config_file=run", "--run_folder=again", "--allow_changes")
    assert "uses the last values in all steps" in capsys.readouterr().out
    assert Record.read(Path("again/config.json")).history == []


def test_a_record_of_before_there_was_a_history_still_loads() -> None:
    Path("old.json").write_text(json.dumps({"format": 1, "run": {"core": "Train", "args": {}}, "data": "abc"}))
    assert Record.read(Path("old.json")).history == []


@pytest.mark.parametrize("history", [[1], [{}], [{"step": "1", "path": "a", "old": "b", "new": "c"}], {"a": 1}])
def test_a_damaged_history_is_one_message(history: object) -> None:
    Path("odd.json").write_text(json.dumps({"format": 1, "run": {}, "history": history}))
    with pytest.raises(UserError, match="its 'history'"):
        Record.read(Path("odd.json"))


def test_the_command_trusts_what_the_run_trusted() -> None:
    own = Node("file", "Mine", file="mine.py")
    workspace = Workspace(Path("a run"), Record(Node("core", "Train", {"noise": own})))
    assert workspace.command("--resume=3") == "python launch.py '--run_folder=a run' --resume=3 --trust"
