"""Going on after any end: the run that was interrupted is the run that was not."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluator_bound
import pytest
import torch
from safetensors.torch import load_file

from sedd_core import checkpoints
from sedd_core.build.workspace import Workspace
from sedd_core.files import digest
from sedd_core.record import Node, Record
from sedd_core.training.log import RunLog, figures_line
from sedd_core.training.settings import Checkpoints
from sedd_core.training.trainer import Trainer
from tests.support.runs import KILLER, TINY, apart, assert_same, log, run, weights, write_text


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)


def copied(name: str, *settings: str) -> None:
    """A tiny run with these settings, which the tests of a session make once and copy."""
    made = Path(os.environ["SEDD_CACHE"]).with_name("-".join(["made", *settings]))
    if not made.exists():
        run(*TINY, f"--run_folder={name}", *settings)
        Path(name).rename(made)
    shutil.copytree(made, name, symlinks=True)


@pytest.mark.parametrize(
    ("place", "call"), [("in a step", 8), ("in a save", 5), pytest.param("in evaluation", 1, marks=pytest.mark.slow)]
)
def test_a_killed_run_goes_on_as_if_nothing_had_been(place: str, call: int) -> None:
    """SIGKILL, at the call-th time that the run is there; with dropout."""
    apart(place, str(call), *TINY, "--run_folder=killed", code=-signal.SIGKILL, program=("-c", KILLER))
    run("--resume", "--run_folder=killed")
    copied("whole")
    assert_same("killed", "whole")


@pytest.mark.parametrize(
    ("number", "moment", "code"),
    [
        (signal.SIGTERM, "in a step", 143),
        (signal.SIGUSR1, "in evaluation", 143),
        (signal.SIGHUP, "in a step", 143),
        (signal.SIGINT, "in a step", 130),
        (signal.SIGINT, "in evaluation", 130),
    ],
)
def test_a_run_that_is_told_to_stop_saves_and_goes_on(
    number: int, moment: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied("whole")
    times = 1 if number == signal.SIGINT else 2  # whoever started the run may pass it on
    with monkeypatch.context() as patched:
        signal_at(patched, moment, number, times)
        before = signal.getsignal(number)
        run(*TINY, "--run_folder=told", code=code)
    if number != signal.SIGHUP:  # the terminal is gone
        assert (
            "Stopped and saved. To continue: python launch.py --run_folder=told --resume\n" in capsys.readouterr().out
        )
    assert Path("told/checkpoints/newest").resolve().name == (
        "step_000000006" if moment == "in a step" else "step_000000004"
    )
    assert signal.getsignal(number) == before
    run("--resume", "--run_folder=told")
    assert "resumed  after step" in capsys.readouterr().out
    assert_same("told", "whole")


def signal_at(patch: pytest.MonkeyPatch, moment: str, number: int, times: int) -> None:
    """This process gets the signal, so many times, in its fifth step or at its first evaluation."""
    owner, name = {"in a step": (Trainer, "update"), "in evaluation": (evaluator_bound, "estimate")}[moment]
    original, calls = getattr(owner, name), iter(range(100))

    def told(*args: object, **named: object) -> object:
        if next(calls) == (4 if moment == "in a step" else 0):
            for _ in range(times):
                os.kill(os.getpid(), number)
        return original(*args, **named)

    patch.setattr(owner, name, told)


def test_a_second_interrupt_ends_a_process_alone_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    signal_at(monkeypatch, "in a step", signal.SIGINT, 2)
    run(*TINY, "--run_folder=run", code=130)
    error = capfd.readouterr().err
    assert "A second Ctrl-C ends it at once" in error
    assert "Interrupted." in error
    assert Path("run/checkpoints/newest").resolve().name == "step_000000003"


def test_any_number_of_interrupts_is_one_request_to_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher passes on what the terminal has sent to the process already."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "some")
    signal_at(monkeypatch, "in a step", signal.SIGINT, 3)
    run(*TINY, "--run_folder=run", code=130)
    assert Path("run/checkpoints/newest").resolve().name == "step_000000006"


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """nohup: a terminal that closes is no reason to stop."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signal_at(monkeypatch, "in a step", signal.SIGHUP, 1)
        run(*TINY, "--run_folder=run", "training.steps=6")
    finally:
        signal.signal(signal.SIGHUP, before)


def test_starting_anew_is_said_with_what_the_log_had_come_to(capsys: pytest.CaptureFixture[str]) -> None:
    few = [*TINY, "--run_folder=run", "--resume", "training.steps=2"]
    run(*few)  # nothing is odd where nothing has begun
    assert "No checkpoint" not in capsys.readouterr().out
    shutil.rmtree("run/checkpoints")
    run(*few)
    assert capsys.readouterr().out.count("No checkpoint in run: starting from step 0; its log reached step 2\n") == 1
    shutil.rmtree("run/checkpoints")
    Path("run/log.txt").write_text("")
    run(*few)
    assert "No checkpoint in run: starting from step 0\n" in capsys.readouterr().out


def test_a_fault_in_the_state_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of the tests above fails when resuming forgets the optimizer's moments."""
    copied("whole")
    run(*TINY, "--run_folder=part", "training.steps=6")
    monkeypatch.setattr(Trainer, "load", lambda self, state: None)
    run("--resume", "--run_folder=part", "training.steps=12")
    with pytest.raises(AssertionError):
        assert_same("part", "whole")


def test_a_longer_run_is_one_that_was_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    copied("whole")
    copied("part", "training.steps=8")
    with Path("part/log.txt").open("a") as file:
        file.write("step   ")  # as a full disk leaves it
    run("--resume", "--run_folder=part", "training.steps=7", code=1)
    assert "has reached step 8" in capsys.readouterr().err
    run("--resume", "--run_folder=part", "training.steps=12")
    out = capsys.readouterr().out
    assert "changed  training.steps: 8 -> 12" in out
    assert "resumed  after step 8" in out
    assert [line.replace("/8 ", "/12 ") for line in log("part")] == log("whole")
    assert all(torch.equal(value, weights("whole")[name]) for name, value in weights("part").items())


FOREIGN = {
    "a note": b"step 99 was when I moved the disk\n",
    "a blank line": b"\n",
    "zeros of a lost page": b"\0" * 300 + b"\n",
    "no UTF-8": b"step     \xff\xfe 2\n",
    "a carriage return": b"50 %\r100 %\n",
    "a note without an end": b"remember the milk",
}


@pytest.mark.parametrize("line", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_line_in_the_log_is_kept(line: bytes) -> None:
    copied("whole")
    run(*TINY, "--run_folder=part", "training.steps=8", "training.log_every=1")
    file = Path("part/log.txt")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:3], line.rstrip(b"\n") + b"\n", *lines[3:], line]))
    run("--resume", "--run_folder=part", "training.steps=12")
    after = file.read_bytes().split(b"\n")[:-1]
    assert after.count(line.rstrip(b"\n")) == 2
    assert after[: len(lines) + 2] == [
        *lines_of(lines[:3]),
        line.rstrip(b"\n"),
        *lines_of(lines[3:]),
        line.rstrip(b"\n"),
    ]
    assert all(torch.equal(value, weights("whole")[name]) for name, value in weights("part").items())


def lines_of(lines: list[bytes]) -> list[bytes]:
    return [line.rstrip(b"\n") for line in lines]


def damage(file: Path) -> None:
    """A folder in a file's place can be neither read nor replaced, whoever the user is."""
    file.unlink(missing_ok=True)
    file.mkdir()


@pytest.mark.parametrize("name", ["log.txt", "metrics.jsonl", "validation.txt", "results.json", "config.txt"])
def test_no_side_file_is_a_condition(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    copied("whole")
    copied("part", "training.steps=8")
    damage(Path("part", name))
    capsys.readouterr()
    run("--resume", "--run_folder=part", "training.steps=12")
    assert f"warning: part/{name}: Is a directory. The run continues without this file." in capsys.readouterr().out
    assert all(torch.equal(value, weights("whole")[name]) for name, value in weights("part").items())


@pytest.mark.parametrize(
    "content", [b"\0" * 40, b"\xff", b"[1]", b"", b"{", b"1", b'{"a": 1}', b'[{"value": 1, "x": 2}]']
)
def test_damaged_results_are_none(content: bytes) -> None:
    Path("run").mkdir()
    Path("run/results.json").write_bytes(content)
    assert Workspace(Path("run"), Record(Node("core", "Train"))).results() == []


def test_the_log_says_each_thing_once_and_how_far_it_came() -> None:
    Path("run").mkdir()
    log = RunLog(Path("run"))
    assert log.reached() is None
    for line in ("step       2/9  loss 1", "step       4/9  loss 1", "step       4  valid: 2 nats", "a note"):
        log.append(line)
        log.append(line)
    assert log.reached() == 4
    log.open(2)
    assert log.path.read_text() == "step       2/9  loss 1\na note\n"
    log.append("a note")
    assert log.path.read_text().count("a note") == 1


def test_lines_that_differ_in_the_time_alone_are_one() -> None:
    """A validation is made again when a kill came before its samples, or between the two files of its line."""
    Path("run").mkdir()
    log, line = RunLog(Path("run")), figures_line(2, 9, {"train/loss": 1.0}, 80.4)
    assert re.fullmatch(r"step       2/9  loss 1  at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  left 0:01:20", line)
    log.write_metrics(line, {"train/loss": 1.0, "train/x": math.nan}, 2)
    early = "step       4  valid: 2 nats  at 2026-01-01 23:59:59"
    log.write_metrics(early, {"valid/nats": math.inf}, 4)
    log.write_metrics("step       6/9  loss 1", {"train/loss": 1.0}, 6)
    stamped = re.sub('"time": "[^"]*"', '"time": "2026-01-01T23:59:59+01:00"', log.metrics.path.read_text())
    log.metrics.path.write_text(stamped + '{"step": 3, "ti')
    again = RunLog(Path("run"))
    again.open(4)
    again.write_metrics("step       4  valid: 2 nats  at 2026-01-02 00:00:01", {"valid/nats": math.inf}, 4)
    assert log.path.read_text() == f"{line}\n{early}\n"
    time = {"time": "2026-01-01T23:59:59+01:00"}
    assert [json.loads(found) for found in log.metrics.path.read_text().splitlines()] == [
        {"step": 2, **time, "train/loss": 1.0, "train/x": None},
        {"step": 4, **time, "valid/nats": None},
    ]


@pytest.mark.parametrize("file", ["model.safetensors", "trainer.pt", "sha256"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    copied("whole")
    run(*TINY, "--run_folder=part", "training.steps=9")
    damaged = Path("part/checkpoints/step_000000009") / file
    damaged.write_bytes(damaged.read_bytes()[:-3] + b"xyz")
    capsys.readouterr()
    run("--resume", "--run_folder=part", "training.steps=12")
    out = capsys.readouterr().out
    assert f"step_000000009{'/' + file if file != 'sha256' else ''}" in out
    assert "Falling back to the previous checkpoint" in out
    assert "resumed  after step 6" in out
    assert all(torch.equal(value, weights("whole")[name]) for name, value in weights("part").items())


def test_when_every_checkpoint_is_damaged_the_run_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    copied("run", "training.steps=3")
    Path("run/checkpoints/newest").unlink()
    Path("run/checkpoints/step_000000003/ema.safetensors").unlink()
    run("--resume", "--run_folder=run", "training.steps=6", code=1)
    error = capsys.readouterr().err
    assert "contains no intact checkpoint" in error
    assert "ema.safetensors is damaged or missing" in error
    assert "remove its checkpoints/" in error


def test_other_data_under_the_same_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--run_folder=run", "training.steps=4")
    text = Path("text.txt").read_text()
    Path("text.txt").write_text(text.replace("cat", "tac"))
    run("--resume", "--run_folder=run", "training.steps=6", code=1)
    assert "The data has changed since the run in run started" in capsys.readouterr().err
    run("--resume", "--run_folder=run", "training.steps=6", "--allow_changes")
    run("--resume", "--run_folder=run", "training.steps=8")  # the record tells of the data that there is now


def test_what_would_make_another_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--run_folder=run", "training.steps=4")
    before = sorted(Path("run").rglob("*"))
    capsys.readouterr()
    run("--resume", "--run_folder=run", "optimizer.lr=5", "training.log_every=3", "noise=geometric", code=1)
    said = capsys.readouterr()
    assert "changed  optimizer.lr: 0.002 -> 5.0" in said.out
    assert "error: Changing noise, optimizer.lr makes this a different run" in said.err
    assert "--allow_changes" in said.err
    assert sorted(Path("run").rglob("*")) == before
    run("--resume", "--run_folder=run", "training.steps=6", "optimizer.lr=0.003", "--allow_changes")
    falling = ["optimizer.schedule=linear", "--allow_changes"]
    run("--resume", "--run_folder=run", "training.steps=8", *falling)
    run("--resume", "--run_folder=run", "training.steps=9", code=1)  # another fall


def test_settings_of_the_optimizer_that_are_changed_hold() -> None:
    run(*TINY, "--run_folder=run", "training.steps=4")
    changed = ["optimizer.lr=0.004", "optimizer.beta1=0.5", "optimizer.weight_decay=0.25", "--allow_changes"]
    run("--resume", "--run_folder=run", "training.steps=6", *changed)
    state = torch.load("run/checkpoints/newest/trainer.pt", weights_only=True)["trainer"]
    (group,) = state["optimizer"]["param_groups"]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.004, (0.5, 0.95), 0.25)
    assert "  lr 0.004  " in "".join(log("run"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume"], "--run_folder"),
        (["--resume", "--run_folder=nowhere"], "nowhere does not contain a run (no config.json)"),
    ],
)
def test_nothing_to_go_on_with(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(*arguments, code=1)
    assert words in capsys.readouterr().err
    assert not Path("nowhere").exists()


def test_resume_starts_a_run_that_is_not_there_yet() -> None:
    run(*TINY, "--resume", "--run_folder=new", "training.steps=2")
    assert log("new")


def test_a_full_disk_ends_the_run_with_the_last_checkpoint_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = torch.save

    def full(state: dict, path: Path) -> None:
        if state["step"] == 6:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(state, path)

    monkeypatch.setattr(checkpoints.folder.torch, "save", full)
    run(*TINY, "--run_folder=run", code=1)
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(path.name for path in Path("run/checkpoints").iterdir()) == ["newest", "step_000000003"]
    assert checkpoints.find_damage(Path("run/checkpoints/newest")) is None


def test_a_full_disk_elsewhere_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunLog, "append", full)
    run(*TINY, "--run_folder=run", code=1)
    assert "error: run: No space left on device. Free some space" in capsys.readouterr().err


def test_which_checkpoints_are_kept() -> None:
    """A part of one, left by a kill, is not; a copy of the user's own is no checkpoint of the run."""
    for name in ("step_000000002.tmp", "step_000000099 mine"):
        Path("run/checkpoints", name).mkdir(parents=True)
    every = ["checkpoints.every=1", "checkpoints.keep=2", "checkpoints.milestone_every=5"]
    run(*TINY, "--run_folder=run", "--resume", *every)
    kept = sorted(path.name for path in Path("run/checkpoints").glob("step_*"))
    assert kept == [*(f"step_{step:09d}" for step in (5, 10, 11, 12)), "step_000000099 mine"]
    assert not Checkpoints(every=2).due(3)


def test_init_from_takes_the_averaged_weights(capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--run_folder=first", "training.steps=4")
    run(*TINY, "--run_folder=second", "training.steps=1", "init_from=first", "optimizer.lr=1e-12")
    first = load_file("first/checkpoints/newest/ema.safetensors")
    assert all(torch.allclose(value, first[name], atol=1e-9) for name, value in weights("second").items())
    run(*TINY, "--run_folder=third", "training.steps=1", "init_from=first", "model.hidden_size=32", code=1)
    assert "do not fit" in capsys.readouterr().err
    assert not Path("third").exists()


def test_a_state_of_another_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    copied("run", "training.steps=3")
    folder = Path("run/checkpoints/step_000000003")
    state = torch.load(folder / "trainer.pt", weights_only=True)
    state["trainer"]["adamw"] = state["trainer"].pop("optimizer")
    torch.save(state, folder / "trainer.pt")
    sign(folder)
    run("--resume", "--run_folder=run", "training.steps=4", code=1)
    assert "init_from=run/checkpoints/step_000000003" in capsys.readouterr().err


def test_too_little_memory_for_a_state_is_not_another_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied("run", "training.steps=3")

    def exhausted(self: Trainer, state: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(Trainer, "load", exhausted)
    run("--resume", "--run_folder=run", "training.steps=4", code=1)
    error = capsys.readouterr().err
    assert "Out of memory in the run: CUDA out of memory." in error
    assert "another version" not in error


def sign(folder: Path) -> None:
    """Make the checksum of a checkpoint's state true again."""
    changed = digest(folder / "trainer.pt")
    lines = (folder / "sha256").read_text().splitlines()
    lines = [f"{changed}  trainer.pt" if "trainer.pt" in line else line for line in lines]
    (folder / "sha256").write_text("\n".join(lines) + "\n")


def test_trainer_state_from_elsewhere_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Attack:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(tmp_path / "hit"),))

    copied("run", "training.steps=3")
    file = Path("run/checkpoints/step_000000003/trainer.pt")
    torch.save({"step": 3, "trainer": Attack(), "meter": {}}, file)
    sign(file.parent)
    run("--resume", "--run_folder=run", "training.steps=4", code=1)
    assert re.search(
        r"trainer\.pt contains more than data \(it references \S*mkdir\) and was not executed",
        capsys.readouterr().err,
    )
    assert not (tmp_path / "hit").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {"step": 3},
        lambda state: [1],
        lambda state: state | {"step": 10**18},
        lambda state: state | {"trainer": state["trainer"] | {"updates": -5}},
        lambda state: state | {"trainer": state["trainer"] | {"optimizer": []}},
        lambda state: state | {"trainer": state["trainer"] | {"settings": 1}},
        lambda state: state | {"meter": {"add": 1}},
        lambda state: state | {"meter": {"by_time": [1.0]}},
        lambda state: _with_moment(state, "exp_avg", torch.zeros(3)),
        lambda state: _with_moment(state, "exp_avg", "x"),
        lambda state: _with_moment(state, "step", torch.tensor(-1.0)),
        lambda state: _with_moment(state, "more", torch.tensor(1.0)),
        lambda state: _without_moment(state),
        lambda state: _with_rate(state),
    ],
)
def test_a_state_that_is_not_this_trainers(
    change: Callable[[dict[str, Any]], object], capsys: pytest.CaptureFixture[str]
) -> None:
    copied("run", "training.steps=3")
    file = Path("run/checkpoints/step_000000003/trainer.pt")
    torch.save(change(torch.load(file)), file)
    sign(file.parent)
    run("--resume", "--run_folder=run", "training.steps=4", code=1)
    assert "was saved by another optimizer, or by another version" in capsys.readouterr().err


def _with_moment(state: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    state["trainer"]["optimizer"]["state"][0][name] = value
    return state


def _without_moment(state: dict[str, Any]) -> dict[str, Any]:
    del state["trainer"]["optimizer"]["state"][0]["exp_avg_sq"]
    return state


def _with_rate(state: dict[str, Any]) -> dict[str, Any]:
    state["trainer"]["optimizer"]["param_groups"][0]["eps"] = "x"
    return state


def test_the_speed_is_of_the_steps_since_resuming(monkeypatch: pytest.MonkeyPatch) -> None:
    """One, of a fifth of a second and more, of 8 x 16 tokens: those before took no time that is measured."""
    run(*TINY, "--run_folder=run", "training.steps=5", "training.log_every=6")
    update = Trainer.update
    monkeypatch.setattr(Trainer, "update", lambda *arguments: time.sleep(0.2) or update(*arguments))
    run("--resume", "--run_folder=run", "training.steps=6")
    _, speed = re.findall(r"tokens_per_second (\S+)", Path("run/log.txt").read_text())
    assert 0 < float(speed) < 640
