"""Mistakes that people make at the command line: one message that says what to do, exit code 1, nothing written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sedd_core.cli.main import main

ROOT = Path(__file__).parents[2]
QUICKSTART = f"--fdl_config={ROOT / 'experiments' / 'quickstart.py'}"
SAMPLE = f"--fdl_config={ROOT / 'experiments' / 'sample.py'}"


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The single message of a failing command."""
    assert main(["launch.py", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    return error


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


COMMANDS = {
    "nothing named": ([], ["No experiment is given", "--fdl_config=experiments/quickstart.py"]),
    "unknown flag": ([QUICKSTART, "--dryrun"], ["Unknown flag --dryrun. Did you mean '--dry_run'?"]),
    "a setting written as a flag": (
        [QUICKSTART, "--sampler=euler"],
        ["Write settings without dashes: sampler=euler"],
    ),
    "a value for a flag that takes none": ([QUICKSTART, "--nodry_run=maybe"], ["nodry_run=maybe", "--dry_run"]),
    "flag without a value": (["--fdl_config"], ["fdl_config"]),
    "a choice begun": ([QUICKSTART, "data=hub", "data.padding=cond"], ["Did you mean 'conditioned'?"]),
    "a stray word": ([QUICKSTART, "graph"], ["'graph' is not a flag", "path=value"]),
    "missing file": (
        [f"--fdl_config={ROOT}/experiments/quikstart.py"],
        ["does not exist", "experiments/quickstart.py'?", "absorb_small.py"],
    ),
    "missing folder": (["--fdl_config=nowhere/x.py"], ["nowhere/x.py does not exist"]),
    "a file that is not Python": ([f"--fdl_config={ROOT}/README.md"], ["is not a Python file"]),
    "a folder": ([f"--fdl_config={ROOT}/experiments"], ["is not a Python file", "absorb_small.py"]),
    "a rate that no update can take": ([QUICKSTART, "optimizer.lr=3e38"], ["lr must lie between 0 and", "not 3e+38"]),
    "unknown function": (
        [f"{QUICKSTART}:confg"],
        ["no function 'confg'", "Did you mean 'config'?", "Its functions: config"],
    ),
    "unknown setting": (
        [QUICKSTART, "--fdl_set=training.step=5"],
        ["Unknown setting 'training.step'", "Did you mean 'steps'?", "batch_size"],
    ),
    "a setting without its group": (
        [QUICKSTART, "batch_size=4"],
        ["Did you mean 'training.batch_size' or 'evaluator.batch_size'?"],
    ),
    "a step that is not a number": (
        [QUICKSTART, "--run_folder=run", "--resume=x"],
        ["Flag --resume=x: write --resume, or the step of a checkpoint: --resume=2500.\n"],
    ),
    "a run to go on with, without saying so": (["--run_folder=run"], ["To continue the run in run: --resume."]),
    "a stage's type": ([QUICKSTART, "graph.type=uniform"], ["Choose a variant by name: graph=uniform."]),
    "a noise's type": ([QUICKSTART, "noise.type=geometric"], ["Choose a variant by name: noise=geometric."]),
    "a setting of another group": (
        [QUICKSTART, "model.scale_by_sigma=false"],
        ["Did you mean 'head.scale_by_sigma'?"],
    ),
    "another program's name": ([QUICKSTART, "training.n_iters=5"], ["Did you mean 'training.steps'?"]),
    "another program's group": ([QUICKSTART, "optim.lr=5"], ["Did you mean 'optimizer.lr'?"]),
    "another program's group and name": ([QUICKSTART, "sampling.predictor=euler"], ["Did you mean 'sampler'?"]),
    "a setting in two groups": ([QUICKSTART, "steps=5"], ["Did you mean 'training.steps' or 'samples.steps'?"]),
    "a setting as a flag, without its group": (
        [QUICKSTART, "--lr=1e-3"],
        ["Unknown flag --lr. Write settings without dashes: optimizer.lr=1e-3."],
    ),
    "the same before the experiment, value as a separate word": (
        ["--lr", "1e-3", QUICKSTART.partition("=")[2]],
        ["Unknown flag --lr. Write settings without dashes: optimizer.lr=VALUE."],
    ),
    "a setting as a flag": ([QUICKSTART, "--training.steps=4"], ["Write settings without dashes: training.steps=4."]),
    "two experiments": (
        [QUICKSTART, SAMPLE.partition("=")[2]],
        ["Two experiments are given", "quickstart.py and", "sample.py"],
    ),
    "an experiment without its suffix": (
        [QUICKSTART.partition("=")[2].removesuffix(".py")],
        ["is not a flag, a setting or an experiment. Did you mean", "quickstart.py'?"],
    ),
    "a missing experiment as a bare word": (
        [f"{ROOT}/experiments/quikstart.py"],
        ["does not exist", "experiments/quickstart.py'?"],
    ),
    "unknown group": ([QUICKSTART, "--fdl_set=trainin.steps=5"], ["no 'trainin'", "Did you mean 'training.steps'?"]),
    "setting of a scalar": ([QUICKSTART, "--fdl_set=seed.x=5"], ["seed is 0", "Unknown setting 'seed.x'"]),
    "no equals sign": ([QUICKSTART, "--fdl_set=training.steps"], ["is not a setting", "path=value"]),
    "no path": ([QUICKSTART, "--fdl_set==5"], ["is not a setting"]),
    "a word for an int": (
        [QUICKSTART, "--fdl_set=training.steps=two"],
        ["training.steps takes int, not 'two'"],
    ),
    "a fraction for an int": (
        [QUICKSTART, "--fdl_set=training.steps=2.5"],
        ["takes int, not '2.5'"],
    ),
    "a word for a float": ([QUICKSTART, "--fdl_set=optimizer.lr=fast"], ["optimizer.lr takes float, not 'fast'"]),
    "a number for a bool": ([QUICKSTART, "--fdl_set=head.scale_by_sigma=1"], ["takes bool, not '1'"]),
    "numbers for a tuple of str": (
        [QUICKSTART, "--fdl_set=data.paths=(1, 2)"],
        ["takes tuple of str", "(1, 2)"],
    ),
    "a bracket left open": ([QUICKSTART, "--fdl_set=data.paths=(a.txt, b.txt"], ["data.paths cannot be parsed"]),
    "a quote left open": ([QUICKSTART, "--fdl_set=data.paths=('a.txt, b.txt)"], ["every item quoted"]),
    "not among the choices": (
        [QUICKSTART, "--fdl_set=training.times=stratifed"],
        ["one of 'stratified', 'iid'", "Did you mean 'stratified'?"],
    ),
    "a group set to a value": (
        [QUICKSTART, "--fdl_set=training=5"],
        ["training is a group of settings", "training.steps"],
    ),
    "unknown variant": (
        [QUICKSTART, "--fdl_set=graph=absorp"],
        ["no plugin 'graph_absorp'", "Did you mean 'graph_absorb'? Installed for the stage graph: graph_absorb, "],
    ),
    "a variant of another stage": ([QUICKSTART, "--fdl_set=graph=noise_geometric"], ["graph_noise_geometric"]),
    "no variant": (
        [QUICKSTART, "--fdl_set=graph=3"],
        ["graph takes the name of a variant", "absorb", "uniform", "not '3'"],
    ),
    "out of range": (
        [QUICKSTART, "--fdl_set=training.batch_size=0"],
        ["training cannot be made", "batch_size must be at least 1, not 0"],
    ),
    "out of a plugin's range": (
        [QUICKSTART, "--fdl_set=noise.eps=2"],
        ["noise cannot be made", "eps must lie between 0 and 1"],
    ),
    "a seed that no generator takes": (
        [QUICKSTART, "--fdl_set=seed=99999999999999999999999"],
        ["seed must lie between"],
    ),
    "a negative seed": ([SAMPLE, "--fdl_set=checkpoint=x", "--fdl_set=seed=-1"], ["seed must lie between"]),
    "heads that do not divide": (
        [QUICKSTART, "--fdl_set=model.hidden_size=128", "--fdl_set=model.n_heads=3", "--dry_run"],
        ["model cannot be made", "n_heads=3 must divide hidden_size=128"],
    ),
    "heads that do not divide, before the vocabulary is known": (
        [QUICKSTART, "data.tokenizer=char", "model.n_heads=5", "--dry_run"],
        ["n_heads=5 must divide hidden_size=144"],
    ),
    "blocks without end": (
        [QUICKSTART, f"model.n_blocks={2**63}", "--dry_run"],
        ["model cannot be made: it would have more than 10,000 parameter tensors"],
    ),
    "a vocabulary without end": (
        [QUICKSTART, f"data.vocab={2**40}", "--dry_run"],
        ["graph cannot have 1,099,511,627,776 tokens; the maximum is 16,777,216"],
    ),
    "no heads": ([QUICKSTART, "model.n_heads=0", "--dry_run"], ["n_heads must be at least 1, not 0"]),
    "a negative size": ([QUICKSTART, "model.hidden_size=-144", "--dry_run"], ["hidden_size must be at least 1"]),
    "a size that torch cannot count": ([QUICKSTART, "model.hidden_size=1e30", "--dry_run"], ["model cannot be made"]),
    "a batch that no memory holds": (
        [QUICKSTART, "training.batch_size=1e18", "ngpus=3", "--dry_run"],
        ["cannot be divided among 3 processes"],
    ),
    "a batch that processes do not divide": (
        [QUICKSTART, "ngpus=3", "--dry_run"],
        ["training.batch_size=8 cannot be divided among 3 processes", "one of 1, 2, 4, 8"],
    ),
    "a number beyond all": ([QUICKSTART, "optimizer.lr=1e999"], ["optimizer.lr is inf"]),
    "nothing after the equals sign": ([QUICKSTART, "training.steps="], ["takes int, not ''"]),
    "two equals signs": ([QUICKSTART, "training.steps==3"], ["takes int, not '=3'"]),
    "two dots": ([QUICKSTART, "training..steps=3"], ["Unknown setting 'training..steps'"]),
    "an item of a tuple": ([QUICKSTART, "data.paths[0]=a"], ["has no 'paths[0]'", "Did you mean 'paths'?"]),
    "a path deep inside the network": ([QUICKSTART, "model.blocks.0.x=3"], ["DDiT has no 'blocks'"]),
    "a comma too many": ([QUICKSTART, "optimizer.lr=1e-3,"], ["optimizer.lr takes float, not ''"]),
    "a run twice in a sweep": ([QUICKSTART, "seed=0,0", "--dry_run"], ["The sweep contains a run twice", "seed=0"]),
    "a stage that cannot be left out": ([QUICKSTART, "graph=None"], ["graph takes the name of a variant"]),
    "a swap with a bracket left open": (
        [QUICKSTART, "noise=geometric(sigma_max=10"],
        [
            "(cosine, geometric, gidd, linear, loglinear, polynomial)",
            "geometric",
            "loglinear",
            "name(argument=value, ...) in quotes",
        ],
    ),
    "restarts below none": ([QUICKSTART, "--max_restarts=-1"], ["--max_restarts=-1"]),
    "a file of flags that is not there": ([QUICKSTART, "--flagfile=nowhere"], ["nowhere"]),
    "a weight's start that is not there": (
        [QUICKSTART, "init_from=nowhere", "--dry_run"],
        ["nowhere does not exist", "Give a run folder"],
    ),
    "a checkpoint that is not there, in a dry run": ([SAMPLE, "checkpoint=nowhere", "--dry_run"], ["does not exist"]),
    "a checkpoint without a name": ([SAMPLE, "--checkpoint="], ["checkpoint is empty: set a run"]),
    "a home that the shell left": (["--fdl_config=~/no_such_file.py"], [f"{Path.home()}/no_such_file.py does not"]),
    "a checkpoint in a home that the shell left": (
        [SAMPLE, "checkpoint=~/no_such_run"],
        [f"{Path.home()}/no_such_run does not exist"],
    ),
    "weights in a home that the shell left": (
        [QUICKSTART, "init_from=~/no_such_run", "--dry_run"],
        [f"{Path.home()}/no_such_run does not exist"],
    ),
    "a sweep that is not a function": ([QUICKSTART, "--sweep=import os"], ["not 'import os'", "write a name"]),
    "a fiddler that is not there": ([QUICKSTART, "--fiddler=hot"], ["no function 'hot'"]),
    "a tag that is none": ([QUICKSTART, "--fdl_tags_set=seed=1"], ["Did you mean 'Seed'?", "Seed (seed)"]),
    "a precision that is none": ([QUICKSTART, "--fdl_tags_set=Precision=fp16"], ["'auto', 'fp32', 'bf16'"]),
    "a vocabulary that disagrees": (
        [QUICKSTART, "--fdl_set=graph.vocab_size=7"],
        ["graph.vocab_size is 7, but this run's is 1024"],
    ),
    "a checkpoint not set": ([SAMPLE], ["checkpoint must be set", "--fdl_set=checkpoint="]),
    "a checkpoint that is not there": (
        [SAMPLE, "--fdl_set=checkpoint=nowhere"],
        ["nowhere does not exist", "Give a run folder"],
    ),
    "an empty folder for a checkpoint": ([SAMPLE, "--fdl_set=checkpoint=."], ["contains no checkpoint"]),
    "a missing text file": (
        [QUICKSTART, "--fdl_set=data.paths=missing.txt"],
        ["There is no text file missing.txt"],
    ),
}


@pytest.mark.parametrize("mistake", COMMANDS)
def test_a_mistake_gets_one_message(mistake: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments, words = COMMANDS[mistake]
    error = failure(arguments, capsys)
    assert [word for word in words if word not in error] == [], error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["EXPERIMENT"], ["EXPERIMENT:config"], ["seed=3", "EXPERIMENT", "--steps=7"]])
def test_an_experiment_by_itself_is_taken(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    file = QUICKSTART.partition("=")[2]
    assert main(["launch.py", *(word.replace("EXPERIMENT", file) for word in words), "--print_config"]) == 0
    shown = capsys.readouterr().out
    assert f"\ntraining.steps = {7 if '--steps=7' in words else 1500} " in shown
    assert f"\nseed = {3 if 'seed=3' in words else 0} " in shown


def test_a_path_in_a_setting_is_no_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch.py", QUICKSTART, "data.paths=train.py", "--print_config"]) == 0
    assert "data.paths = ('train.py',)" in capsys.readouterr().out


BASE = "from experiments.quickstart import config as base\n"
EXPERIMENTS = {
    "an error deep in a helper's file": (
        "from helper import second\ndef config():\n    return second('b')\n",
        ["helper.py:4: return {'a': 1}[key]", "KeyError: 'b'"],
    ),
    "a file that helps with a syntax error": ("import unclosed\n", ["unclosed.py:1: x = (1,", "never closed"]),
    "no text at all": ("\0", ["broken.py: SyntaxError: source code string cannot contain null bytes"]),
    "two files that import each other": ("from circle import thing\nother = 1\n", ["circular import"]),
    "a function without an end": ("def config():\n    return config()\n", ["RecursionError"]),
    "an exit": ("import sys\nsys.exit(3)\n", ["broken.py:2: sys.exit(3)", "SystemExit: 3"]),
    "no return": (BASE + "def config():\n    base()\n", ["returns nothing", "does it end with `return`?"]),
    "an object made already": (
        BASE + "import fiddle as fdl\ndef config():\n    return fdl.build(base())\n",
        ["returns a Train; it must return an fdl.Config"],
    ),
    "an argument that nobody gives": (
        "def config(n):\n    return n\n",
        ["config(n) cannot be called", "missing a required argument: 'n'", "config(name=value)"],
    ),
    "a misspelt setting": (
        BASE + "def config():\n    c = base()\n    c.training.stepz = 5\n    return c\n",
        ["broken.py:4: c.training.stepz = 5", "'stepz'", "steps"],
    ),
    "a misspelt group": (
        BASE + "def config():\n    c = base()\n    c.trainning.steps = 5\n    return c\n",
        ["broken.py:4", "Train has no 'trainning'. Did you mean 'training'?"],
    ),
    "a value of another type": (
        BASE + "def config():\n    c = base()\n    c.training.steps = 'many'\n    return c\n",
        ["training.steps takes int, not 'many'. It was set at broken.py:4."],
    ),
    "a stage by its name alone": (
        BASE + "def config():\n    c = base()\n    c.sampler = 'euler'\n    return c\n",
        ["sampler is the str 'euler'; write a stage as stage(\"sampler_euler\"). It was set at broken.py:4."],
    ),
    "a stage of another kind": (
        BASE + "def config():\n    c = base()\n    c.graph = c.model\n    return c\n",
        ["graph takes Graph, not a DDiT"],
    ),
    "a config of a function": (
        "import fiddle as fdl\ndef config():\n    return fdl.Config(print)\n",
        ["is a print; it must be a class of a plugin"],
    ),
    "an error in its own lines": (
        "def config():\n    return 1 / 0\n",
        ["broken.py:2: return 1 / 0", "ZeroDivisionError"],
    ),
    "a syntax error": ("def config(:\n    pass\n", ["broken.py:1: def config(:", "SyntaxError"]),
    "an unknown import": ("import torhc\n", ["broken.py:1: import torhc", "No module named 'torhc'"]),
    "an unknown argument": (
        "from sedd_core.cli import stage\ndef config():\n    return stage('noise_geometric', sigma=3)\n",
        ["broken.py:3", "sigma"],
    ),
    "a missing plugin": (
        "from sedd_core.cli import stage\ndef config():\n    return stage('noise_gometric')\n",
        ["broken.py:3", "Did you mean 'noise_geometric'?"],
    ),
    "no function": ("x = 1\n", ["has no function 'config'", "Its functions: none"]),
    "not a config": ("def config():\n    return 3\n", ["returns a int; it must return an fdl.Config"]),
    "not a run": (
        "from sedd_core.cli import stage\ndef config():\n    return stage('noise_geometric')\n",
        ["configures a Geometric, which is not a run"],
    ),
    "a list": (
        "from experiments.quickstart import config as base\ndef config():\n    c = base()\n    c.data.paths = ['a']\n    return c\n",
        ["data.paths is a list: use a tuple"],
    ),
    "a function": (
        "from experiments.quickstart import config as base\ndef config():\n    c = base()\n    c.seed = print\n    return c\n",
        ["seed is a builtin_function_or_method"],
    ),
    "not a number": (
        "from experiments.quickstart import config as base\ndef config():\n    c = base()\n    c.optimizer.lr = float('nan')\n    return c\n",
        ["optimizer.lr is nan"],
    ),
}


@pytest.mark.parametrize("mistake", EXPERIMENTS)
def test_a_mistake_in_an_experiment_shows_its_line(
    mistake: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("broken", "helper", "unclosed", "circle"):
        sys.modules.pop(module, None)
    source, words = EXPERIMENTS[mistake]
    file = tmp_path / "broken.py"
    file.write_text(source)
    (tmp_path / "helper.py").write_text(
        "def second(key):\n    return third(key)\ndef third(key):\n    return {'a': 1}[key]\n"
    )
    (tmp_path / "unclosed.py").write_text("x = (1,\n")
    (tmp_path / "circle.py").write_text("from broken import other\nthing = 1\n")
    error = failure([f"--fdl_config={file}", "--dry_run"], capsys)
    assert [word for word in words if word not in error] == [], error


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("text.txt/run", "text.txt is a file"),
        ("text.txt", "text.txt is a file"),
        ("taken", "taken is not empty"),
        ("sealed/run", "sealed is read-only"),
    ],
)
@pytest.mark.parametrize("sweep", [[], ["seed=1,2"]])
def test_a_run_folder_that_cannot_be_used(
    folder: str,
    words: str,
    sweep: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 400)
    for run in ("taken", "taken/seed=1"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "config.json").write_text("{}")
    (tmp_path / "sealed").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode, **_: Path(path).name != "sealed")  # root may write everywhere
    monkeypatch.setattr("sedd_core.runs.train.Train.execute", None)  # before any data is read
    before = sorted(tmp_path.rglob("*"))
    error = failure(
        [QUICKSTART, "data.paths=text.txt", "data.tokenizer=char", *sweep, f"--run_folder={folder}"], capsys
    )
    assert words.replace("taken", "taken/seed=1" if sweep else "taken") in error
    assert "--run_folder=" in error
    assert sorted(tmp_path.rglob("*")) == before


PLUGINS = {
    "broken plugin": (
        {"sedd-toy": "import torhc"},
        ["sedd-toy 1.0", "No module named 'torhc'", "pip uninstall sedd-toy"],
    ),
    "a plugin without its hook": ({"sedd-toy": ""}, ["must implement the hook sedd_noise"]),
    "name clash": (
        {"sedd-toy": "", "their-toy": ""},
        ["Two distributions", "sedd-toy and their-toy", "Uninstall one"],
    ),
}


@pytest.mark.parametrize("mistake", PLUGINS)
def test_plugins_that_cannot_be_used(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owners, words = PLUGINS[mistake]
    monkeypatch.syspath_prepend(tmp_path)
    for distribution, source in owners.items():
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[sedd]\nnoise_toy = noise_toy\n")
        (tmp_path / "noise_toy.py").write_text(source)
    try:
        error = failure([QUICKSTART, "noise=toy", "--dry_run"], capsys)
    finally:
        sys.modules.pop("noise_toy", None)
    assert [word for word in words if word not in error] == [], error
    assert main(["launch.py", QUICKSTART, "--dry_run"]) == 0  # a run that does not use it


def test_a_record_of_a_newer_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text('{"format": 999, "run": {}}')
    error = failure(["--fdl_config_file=config.json"], capsys)
    assert "has format 999" in error
    assert "update it" in error


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sedd_core.runs.train.Train.describe", lambda self: [][0])
    with pytest.raises(IndexError):
        main(["launch.py", QUICKSTART, "--dry_run"])


def test_an_interruption_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(self: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("sedd_core.runs.train.Train.describe", interrupt)
    assert main(["launch.py", QUICKSTART, "--dry_run"]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


LEARNED = """
import fiddle as fdl
import torch
from experiments.quickstart import config as quickstart
from sedd_core.stages import Noise, NoiseLevel

class Learned(Noise):
    '''sigma = top t, with top learned.'''
    def __init__(self, *, top: float = 5.0) -> None:
        super().__init__()
        self.top = torch.nn.Parameter(torch.tensor(top, dtype=torch.float64))
    def forward(self, t):
        return NoiseLevel(t, self.top * t.double(), self.top * torch.ones_like(t))
    def time(self, sigma):
        return sigma / self.top

def config():
    run = quickstart()
    run.noise = fdl.Config(Learned)
    return run
"""


@pytest.mark.parametrize("flags", [["--dry_run"], []])
def test_a_learned_schedule_is_refused_before_anything_starts(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(LEARNED)
    error = failure(["--fdl_config=mine.py", "--run_folder=run", "training.steps=1", *flags], capsys)
    assert "The noise Learned has trainable parameters (top)" in error
    assert "requires_grad=False" in error
    assert not Path("run").exists()
