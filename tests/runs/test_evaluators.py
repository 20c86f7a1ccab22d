"""Several evaluators and several monitors in one run: their figures, names, failures and settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sedd_core import UserError, plugin
from sedd_core.build.build import build
from sedd_core.cli.config import node_of
from sedd_core.cli.experiment import load_experiment
from sedd_core.cli.settings import apply
from sedd_core.evaluation.charts import check_distinct, numbered
from sedd_core.record import Figure, Node, Record
from sedd_core.record.figures import from_json, to_json
from sedd_core.training.validation import line_of
from tests.support.runs import ROOT, TINY, log, metrics, run, write_text

MINE = """
import json
from pathlib import Path
import fiddle as fdl
import torch
from experiments.quickstart import config as quickstart
from sedd_core.record import Figure
from sedd_core.stages import Evaluator, Monitor

class Lines(Monitor):
    def __init__(self, *, name: str = "lines", fails_in: str = "") -> None:
        self.name, self.fails_in, self.lines = name, fails_in, []
    def start(self, folder, step) -> None:
        self.folder = folder
        self.add("start", step)
    def scalars(self, values, step) -> None:
        self.add("scalars", step, **values)
        values.clear()  # each monitor has its own
    def text(self, name, text, step) -> None:
        self.add("text", step)
    def hyperparameters(self, values, figures) -> None:
        self.add("hyperparameters", 0, **figures)
    def close(self) -> None:
        self.add("close", 0)
    def add(self, call, step, **values) -> None:
        if call == self.fails_in:
            raise RuntimeError("the server is gone")
        with (self.folder / self.name).open("a") as file:
            file.write(json.dumps([call, step, values]) + "\\n")

class Count(Evaluator):
    def __init__(self, *, fails: str = "") -> None:
        self.fails = fails
    def evaluate(self, model, noise, data, context):
        if self.fails == "all" or self.fails == "one" and not len(context.share(1)):
            raise KeyError("no such layer")
        context.report("counted\\n")
        if self.fails == "swallowed":
            try:
                context.gather(lambda: 1 / len(context.share(1)))
            except Exception:
                pass
        count = sum(context.gather(lambda: len(context.share(len(data.train)))))
        figure = Figure("length", float(count), "sequences")
        if self.fails == "tensor":
            object.__setattr__(figure, "value", torch.tensor(1.5))  # past the checks of types in tests
        return [figure]

def config():
    run = quickstart()
    run.monitors = (fdl.Config(Lines, name="one"), fdl.Config(Lines, name="two"))
    run.evaluators = (fdl.Config(Count),)
    return run

def broken_monitor():
    run = config()
    run.monitors = (fdl.Config(Lines, name="one", fails_in="text"), fdl.Config(Lines, name="two"))
    return run

def broken_evaluator(where: str = "all"):
    run = config()
    run.evaluators = (fdl.Config(Count, fails=where),)
    return run

def twice():
    run = config()
    run.monitor, run.monitors = None, (fdl.Config(Lines), fdl.Config(Lines, name="lines"))
    return run
"""
OWN = ["--fdl_config=mine.py", *TINY[1:], "training.steps=5"]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))


def told(name: str, call: str = "scalars") -> list[Any]:
    lines = [json.loads(line) for line in Path("run", name).read_text().splitlines()]
    return [line[1:] for line in lines if line[0] == call]


def test_a_further_evaluator_has_names_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "training.steps=4", "training.eval_every=2", "--run_folder=alone")
    run(*TINY, "training.steps=4", "training.eval_every=2", "evaluators=(bound(points=4),)", "--run_folder=run")
    figures = json.loads(Path("run/results.json").read_text())
    alone = json.loads(Path("alone/results.json").read_text())
    assert figures[:2] == alone
    assert [figure["name"] for figure in figures] == ["bound", "bound", "bound_2", "bound_2"]
    assert ["4 noise levels" in figure["protocol"] for figure in figures] == [False, False, True, True]
    lines = [line for line in log("run") if "bound_2" in line]
    assert [line.split()[1] for line in lines] == ["2", "4"]
    assert re.search(r"text: bound_2 \d\.\d+ ± \d\.\d+ nats/token, bound_2 .* bits/character \(± .* n = 18\)", lines[0])
    assert [line for line in log("run") if "bound_2" not in line] == log("alone")
    last = {name: value for line in metrics("run") for name, value in line.items()}
    assert {"valid_text/nats_per_token", "valid_text/bound_2_nats_per_token", "valid_text/bound_2_perplexity"} <= set(
        last
    )
    assert last["valid_text/bound_2_nats_per_token"] == figures[2]["value"]
    assert Path("run/validation.txt").read_text().count("Likelihood bound of ") == 2
    record = Record.read(Path("run/config.json"))
    assert record.run.args["evaluators"] == (Node("plugin", "evaluator_bound", {"points": 4}),)
    capsys.readouterr()
    run("--fdl_config_file=run/config.json", "--print_config")
    shown = capsys.readouterr().out
    assert re.search(r"^evaluators +# |^evaluators = \(evaluator_bound,\) ", shown, re.MULTILINE)
    assert re.search(r"^evaluators\[0\]\.points = 4 ", shown, re.MULTILINE)
    run("--fdl_config_file=run/config.json", "--run_folder=again")
    assert json.loads(Path("again/results.json").read_text()) == figures


def test_a_resumed_run_may_change_its_evaluators_and_monitors() -> None:
    run(*TINY, "training.steps=3", "--run_folder=run")
    run("--resume", "--run_folder=run", "training.steps=4", "evaluators=(bound(points=1),)", "monitors=()")
    assert [figure["name"] for figure in json.loads(Path("run/results.json").read_text())][2:] == ["bound_2"] * 2


def test_monitors_are_told_the_figures_of_the_log() -> None:
    run(*OWN, "--run_folder=run")
    written = [(line.pop("step"), line) for line in metrics("run")]
    for name in ("one", "two"):
        kept = [
            (step, {key: value for key, value in values.items() if not key.startswith("train_speed/")})
            for step, values in told(name)
        ]
        assert kept == written
        assert len(told(name, "close")) == 1
    (results,) = told("one", "hyperparameters")
    assert results[1]["valid/length_sequences"] == json.loads(Path("run/results.json").read_text())[-1]["value"]
    assert (Path("run") / "tensorboard").is_dir()
    assert Path("run/validation.txt").read_text().endswith("counted\n")
    assert any(re.fullmatch(r"step       4  evaluation: length \d+ sequences", line) for line in log("run"))


def test_a_monitor_that_fails_leaves_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    run("--fdl_config=mine.py:broken_monitor", *OWN[1:], "--run_folder=run")
    assert capsys.readouterr().out.count("warning: Lines failed in text (RuntimeError: the server is gone)") == 1
    assert told("one") == []
    assert len(told("two")) == len(metrics("run"))


def test_an_evaluator_that_fails_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    run("--fdl_config=mine.py:broken_evaluator", *OWN[1:], "--run_folder=run", code=1)
    error = capsys.readouterr().err
    assert error.startswith("error: The evaluator Count (evaluators[0]) failed (KeyError: 'no such layer').")
    assert error.count("\n") == 1


def test_a_figure_that_is_no_number_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    run("--fdl_config=mine.py:broken_evaluator(where='tensor')", *OWN[1:], "--run_folder=run", code=1)
    error = capsys.readouterr().err
    assert "failed (TypeError: length (sequences) is a Tensor, not a float)" in error
    assert "Traceback" not in error


def test_names_are_numbered_once() -> None:
    own = [Figure("a", 1.0, "x", set="s"), Figure("a_2", 1.0, "x", set="s")]
    assert [figure.name for figure in numbered(own, own[:1])] == ["a_2", "a_2_2"]


@pytest.mark.slow
def test_processes_share_every_evaluator() -> None:
    """One process and two give the same figures."""
    run(*OWN, "ngpus=1", "--run_folder=single")
    run(*OWN, "ngpus=2", "--run_folder=double")
    single, double = (json.loads(Path(name, "results.json").read_text()) for name in ("single", "double"))
    assert [f["value"] for f in double] == pytest.approx([f["value"] for f in single], rel=1e-4)


@pytest.mark.parametrize("where", ["one", *(pytest.param(x, marks=pytest.mark.slow) for x in ("all", "swallowed"))])
def test_a_failure_of_an_evaluator_ends_every_process(where: str, capfd: pytest.CaptureFixture[str]) -> None:
    """With one message, also where the others wait for the process that failed."""
    experiment = f"--fdl_config=mine.py:broken_evaluator(where='{where}')"
    run(experiment, *OWN[1:], "ngpus=2", "--run_folder=run", code=1)
    said = "".join(capfd.readouterr())
    errors = {line for line in said.splitlines() if line.startswith("error: ")}
    assert len(errors) == 1
    error = "ZeroDivisionError: division by zero" if where == "swallowed" else "KeyError: 'no such layer'"
    assert f"The evaluator Count (evaluators[0]) failed ({error})" in said


REPEATED = {
    "a monitor": (["monitors=(tensorboard,)"], "monitors[0] repeats monitor, monitor_tensorboard()."),
    "two in a tuple": (
        ["monitor=None", "monitors=(tensorboard,tensorboard)"],
        "monitors[1] repeats monitors[0], monitor_tensorboard().",
    ),
    "an evaluator, by its defaults": (
        [
            "evaluator=bound(points=16)",
            "evaluator.sequences=256",
            "evaluator.references=false",
            "evaluators=(bound,)",
        ],
        "evaluators[0] repeats evaluator, evaluator_bound(sequences=256, points=16, repeats=1, estimator='auto', batch=0, "
        "pooling='tokens', left_out=(), t_min=None, t_max=1.0, scored='loss', given_noise='same', "
        "units=('nats/token', 'bits/character'), batch_size=32, references=False, protocol='').",
    ),
}


@pytest.mark.parametrize("what", REPEATED)
def test_a_stage_given_twice_is_refused(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings, message = REPEATED[what]
    run(TINY[0], *settings, "--dry_run", code=1)
    assert capsys.readouterr().err == f"error: {message} Remove one, or give it other settings.\n"


def test_classes_of_an_experiment_given_twice_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    run("--fdl_config=mine.py:twice", "--dry_run", code=1)
    assert "monitors[1] repeats monitors[0], Lines(name='lines', fails_in='') of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("()", []),
        ("(bound)", [{}]),
        ("(bound,)", [{}]),
        ("[bound(points=4), evaluator_bound(points=8, references=true)]", [{"points": 4}, {"points": 8, "references": True}]),
        ("bound(points=4)", [{"points": 4}]),
    ],
)  # fmt: skip
def test_a_tuple_of_variants_on_the_command_line(text: str, expected: list[dict[str, Any]]) -> None:
    config = load_experiment(str(ROOT / "experiments" / "quickstart.py"))
    assert apply(config, f"evaluators={text}") == []
    assert [dict(item.__arguments__) for item in config.evaluators] == expected


def test_data_too(capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.txt").write_text(Path("text.txt").read_text()[::-1])
    run(
        *TINY,
        "training.steps=1",
        """more_valid=(text(paths="b.txt", tokenizer=char, length=16),)""",
        "--run_folder=run",
    )
    assert Path("run/validation.txt").read_text().count("Likelihood bound of 8 sequences of ") == 2


MISTAKES = {
    "evaluators=(bound": ["evaluators takes variants of the stage evaluator, not '(bound'", "in quotes"],
    "evaluators=(bond,)": ["There is no plugin 'evaluator_bond'. Did you mean 'evaluator_bound'?"],
    "evaluators=(3,)": ["evaluator takes the name of a variant (bound, generative), not '3'"],
    "evaluators=(bound(points=x),)": ["evaluator=bound.points takes int, not 'x'"],
    "evaluators=(bound(point=1),)": ["evaluator=bound has no argument 'point'. Did you mean 'points'?"],
    "evaluators=None": ["evaluator takes the name of a variant (bound, generative), not 'None'"],
}


@pytest.mark.parametrize("setting", MISTAKES)
def test_mistakes_in_a_tuple_of_variants(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(TINY[0], setting, "--dry_run", code=1)
    error = capsys.readouterr().err
    assert [words for words in MISTAKES[setting] if words not in error] == [], error
    assert error.count("\n") == 1


def test_help_lists_the_variants_of_a_tuple(capsys: pytest.CaptureFixture[str]) -> None:
    run(TINY[0], "evaluators=(bound(points=4),)", "--fdl_help")
    out = capsys.readouterr().out
    assert (
        "evaluators = (evaluator_bound,)   (tuple of bound, generative)\n    Further evaluations, made after the first."
        in out
    )
    assert "evaluators[0].points = 4   (int; default 16)\n    Number of noise levels drawn per sequence." in out
    assert "monitors = ()   (tuple of csv, tensorboard)" in out


def test_names_of_stages_in_an_experiment() -> None:
    Path("strings.py").write_text(
        f"{MINE}\ndef strings():\n    run = config()\n    run.monitors = ('tensorboard',)\n    return run\n"
    )
    config = load_experiment("strings.py:strings")
    with pytest.raises(UserError, match=r'monitors\[0\] is the str .* write a stage as stage\("monitor_tensorboard"\)'):
        node_of(config)


def test_figures_of_one_evaluator_need_charts_of_their_own() -> None:
    one, other = Figure("a", 1.0, "x", set="s"), Figure("a", 2.0, "x given lengths", set="s")
    with pytest.raises(ValueError, match="two figures"):
        check_distinct([one, other])
    check_distinct([one, Figure("a", 1.0, "x", set="t"), Figure("b", 1.0, "x", set="s")])
    assert [figure.name for figure in numbered([one], [one, Figure("a_2", 1.0, "x", set="s")])] == ["a_3"]


def test_a_line_of_any_figures() -> None:
    figures = [Figure("bound", 1.5, "nats/token given lengths", 0.25, "s", 8), Figure("rank", 3.0, "", None, "s", 8)]
    assert re.fullmatch(
        r"step       7  s: 1\.5000 ± 0\.2500 nats/token, rank 3 \(± standard error, n = 8\)  at .*",
        line_of(figures, 7),
    )


def test_figures_without_a_protocol_are_read() -> None:
    old = [{"name": "bound", "value": 1.0, "unit": "nats/token", "standard_error": None, "set": "s", "n": 2}]
    assert from_json(json.dumps(old).encode()) == [Figure("bound", 1.0, "nats/token", None, "s", 2)]
    stated = Figure("bound", 1.0, "nats/token", protocol="8 levels")
    assert from_json(to_json([stated]).encode()) == [stated]


def test_records_of_format_1_name_the_evaluator() -> None:
    stored = Record.read(ROOT / "tests" / "stored" / "absorb" / "config.json")
    assert stored.node("evaluator").name == "evaluator_bound"
    assert isinstance(build(stored.node("evaluator")), plugin("evaluator_bound"))
