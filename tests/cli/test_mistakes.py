"""Mistakes that people make at the command line: one message that says what to do, exit code 1, nothing written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sedd_core.cli.main import main

ROOT = Path(__file__).parents[2]
QUICKSTART = f"--fdl_config={ROOT / 'experiments' / 'quickstart.py'}"
SAMPLE = f"--fdl_config={ROOT / 'experiments' / 'sample.py'}"


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one message of a command that fails."""
    assert main(["launch.py", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    return error


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


COMMANDS = {
    "nothing named": ([], ["No experiment is named", "--fdl_config=experiments/quickstart.py"]),
    "unknown flag": ([QUICKSTART, "--dryrun"], ["dryrun", "--dry_run"]),
    "a setting written as a flag": ([QUICKSTART, "--sampler=euler"], ["Settings have no dashes: sampler=euler"]),
    "a value for a flag that takes none": ([QUICKSTART, "--nodry_run=maybe"], ["nodry_run=maybe", "--dry_run"]),
    "flag without a value": (["--fdl_config"], ["fdl_config"]),
    "a stray word": ([QUICKSTART, "graph"], ["'graph' is no flag", "path=value"]),
    "missing file": (
        [f"--fdl_config={ROOT}/experiments/quikstart.py"],
        ["does not exist", "Did you mean 'quickstart.py'?", "absorb_small.py"],
    ),
    "missing folder": (["--fdl_config=nowhere/x.py"], ["nowhere/x.py does not exist"]),
    "a file that is not Python": ([f"--fdl_config={ROOT}/README.md"], ["is not a Python file"]),
    "a folder": ([f"--fdl_config={ROOT}/experiments"], ["is not a Python file", "absorb_small.py"]),
    "unknown function": (
        [f"{QUICKSTART}:confg"],
        ["no function 'confg'", "Did you mean 'config'?", "Its functions: config"],
    ),
    "unknown setting": (
        [QUICKSTART, "--fdl_set=training.step=5"],
        ["There is no setting 'training.step'", "Did you mean 'steps'?", "batch_size"],
    ),
    "unknown group": ([QUICKSTART, "--fdl_set=trainin.steps=5"], ["no 'trainin'", "Did you mean 'training'?"]),
    "setting of a scalar": ([QUICKSTART, "--fdl_set=seed.x=5"], ["seed is 0", "no seed.x"]),
    "no equals sign": ([QUICKSTART, "--fdl_set=training.steps"], ["is no setting", "path=value"]),
    "no path": ([QUICKSTART, "--fdl_set==5"], ["is no setting"]),
    "a word for a whole number": (
        [QUICKSTART, "--fdl_set=training.steps=two"],
        ["training.steps takes a whole number, not 'two'"],
    ),
    "a fraction for a whole number": (
        [QUICKSTART, "--fdl_set=training.steps=2.5"],
        ["takes a whole number, not '2.5'"],
    ),
    "a word for a number": ([QUICKSTART, "--fdl_set=optimizer.lr=fast"], ["optimizer.lr takes a number, not 'fast'"]),
    "a number for yes or no": ([QUICKSTART, "--fdl_set=score.scale_by_sigma=1"], ["takes true or false, not '1'"]),
    "a word for a tuple of numbers": (
        [QUICKSTART, "--fdl_set=data.paths=(1, 2)"],
        ["takes a tuple, each of them a text", "(1, 2)"],
    ),
    "a bracket left open": ([QUICKSTART, "--fdl_set=data.paths=(a.txt, b.txt"], ["data.paths cannot be read"]),
    "a quote left open": ([QUICKSTART, "--fdl_set=data.paths=('a.txt, b.txt)"], ["every text quoted"]),
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
        ["no plugin 'graph_absorp'", "Did you mean 'graph_absorb'?", "pip install -e plugins/graph_absorp"],
    ),
    "a variant of another stage": ([QUICKSTART, "--fdl_set=graph=noise_geometric"], ["graph_noise_geometric"]),
    "no variant": (
        [QUICKSTART, "--fdl_set=graph=3"],
        ["graph takes the name of a variant", "absorb, uniform", "not '3'"],
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
    "a vocabulary that disagrees": (
        [QUICKSTART, "--fdl_set=graph.vocab_size=7"],
        ["graph.vocab_size is 7, but this run's is 1024"],
    ),
    "a checkpoint not set": ([SAMPLE], ["checkpoint must be set", "--fdl_set=checkpoint="]),
    "a checkpoint that is not there": (
        [SAMPLE, "--fdl_set=checkpoint=nowhere"],
        ["nowhere does not exist", "Give a run folder"],
    ),
    "an empty folder for a checkpoint": ([SAMPLE, "--fdl_set=checkpoint=."], ["holds no checkpoint"]),
    "a text file that is not there": (
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


EXPERIMENTS = {
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
    "a plugin that is not there": (
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
    source, words = EXPERIMENTS[mistake]
    file = tmp_path / "broken.py"
    file.write_text(source)
    error = failure([f"--fdl_config={file}", "--dry_run"], capsys)
    assert [word for word in words if word not in error] == [], error


@pytest.mark.parametrize("occupied", ["a file in the way", "a run is there"])
def test_a_run_folder_that_cannot_be_used(occupied: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 400)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text("{}")
    folder = "text.txt/run" if occupied == "a file in the way" else "taken"
    before = sorted(tmp_path.rglob("*"))
    error = failure(
        [QUICKSTART, "--fdl_set=data.paths=text.txt", "--fdl_set=data.tokenizer=char", f"--run_folder={folder}"],
        capsys,
    )
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
