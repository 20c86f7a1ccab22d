"""Sweeps: settings with several values, over values and plugins alike."""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
import statistics
from pathlib import Path
from typing import Any

import pytest

from sedd_core import UserError, checkpoints
from sedd_core.cli.compose import Changes, alternatives, compose, folder_names
from sedd_core.cli.main import main
from sedd_core.cli.sweep import Row, as_csv, by_column, compared
from sedd_core.record.figures import Figure
from sedd_core.record.record import Record

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "experiments" / "quickstart.py")
SMALL = [
    *("data.paths=text.txt", "data.tokenizer=char", "data.length=16", "model.hidden_size=16", "model.n_heads=2"),
    *("model.n_blocks=1", "training.steps=1", "evaluator.sequences=4", "evaluator.points=1", "samples.steps=1"),
]


@pytest.mark.parametrize(
    ("setting", "settings"),
    [
        ("a.b=1", ["a.b=1"]),
        ("a.b=1,2", ["a.b=1", "a.b=2"]),
        ("prompt=Hi, there[[*]].", ["prompt=Hi, there[[*]]."]),
        ("prefix=One, two,three", ["prefix=One, two,three"]),
        ("paths=('a', 'b')", ["paths=('a', 'b')"]),
        (
            "noise=geometric(sigma_min=1, sigma_max=2),loglinear",
            ["noise=geometric(sigma_min=1, sigma_max=2)", "noise=loglinear"],
        ),
        ("name='a,b'", ["name='a,b'"]),
        ("prefix='One, two','three'", ["prefix='One, two'", "prefix='three'"]),
        ("name='a,b',\"(\"", ["name='a,b'", 'name="("']),
    ],
)
def test_several_values(setting: str, settings: list[str]) -> None:
    assert alternatives(setting) == settings


def test_a_path_with_commas_is_one_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "seed=1,optimizer.lr=0.1"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (str(folder), f"~/{folder.name}"):
        assert alternatives(f"init_from={path}") == [f"init_from={path}"]
        assert len(alternatives(f"init_from={path},None")) == 3
    assert alternatives(f"prompt={'a' * 9999}") == [f"prompt={'a' * 9999}"]


def test_every_combination_is_composed() -> None:
    composed = compose(QUICKSTART, Changes(settings=["graph=absorb,uniform", "noise=geometric", "seed=0,1,2"]))
    assert [one.label for one in composed][:2] == ["graph=absorb,seed=0", "graph=absorb,seed=1"]
    assert len({str(one.node) for one in composed}) == 6
    assert [one.label for one in compose(QUICKSTART, Changes(settings=["seed=3"]))] == [""]


def test_folders_are_told_apart_and_have_names_that_any_disk_takes() -> None:
    labels = ["noise=geometric(sigma_max=2.5)", "x=a/b", "x=a_b", "x=" + "a" * 300]
    names = folder_names(labels)
    assert names[:3] == ["noise=geometric_sigma_max=2.5_", "x=a_b", "x=a_b~2"]
    assert len(names[3]) == 150


@pytest.mark.parametrize("settings", [["seed=0,0"], ["seed=0,1", "training.steps=1500,1500"]])
def test_a_run_is_not_made_twice(settings: list[str]) -> None:
    with pytest.raises(UserError, match=r"The sweep contains a run twice: seed=0.* and seed=0"):
        compose(QUICKSTART, Changes(settings=settings))


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 60)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sweep_runs_each_and_compares_them(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["graph=absorb,uniform", "training.batch_size=4,8"]
    assert main(["launch.py", f"--fdl_config={QUICKSTART}", *SMALL, *sweep, "--run_folder=sweep"]) == 0
    labels = [f"graph={graph},training.batch_size={size}" for graph in ("absorb", "uniform") for size in (4, 8)]
    assert sorted(path.name for path in Path("sweep").iterdir()) == [*labels, "sweep.csv"]
    lines = capsys.readouterr().out.splitlines()
    rows = lines[[line.split()[:1] for line in lines].index(["run"]) :]
    assert re.split(r"\s{2,}", rows[0].strip()) == ["run", "bound (nats/token)", "bound (bits/character)", "folder"]
    assert sorted(row.split()[0] for row in rows[1:]) == labels
    bounds = [float(row.split()[1]) for row in rows[1:]]
    assert bounds == sorted(bounds)
    for row in rows[1:]:
        label = row.split()[0]
        report = (Path("sweep") / label / "validation.txt").read_text().splitlines()
        nats = next(line for line in report if line.startswith("bound\t")).split("\t")[1]
        assert nats in row
        graph = Record.read(Path("sweep") / label / "config.json").node("graph")
        assert graph.name == f"graph_{label[6:].split(',')[0]}"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.paths=a.txt,b.txt", ["data.paths is a.txt, then b.txt", "in one run: 'data.paths=(a.txt, b.txt)'"]),
        ("training.steps=10,500", ["training.steps is 10, then 500", "omit the commas: training.steps=10500"]),
        ("graph=absorb,uniform", ["graph is absorb, then uniform\n"]),
    ],
)
def test_a_sweep_is_announced_with_how_to_mean_one_run(
    setting: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["launch.py", f"--fdl_config={QUICKSTART}", setting, "--dry_run"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("sweep    2 runs in sequence:\n")
    assert [word for word in words if word not in captured.out] == []


def test_one_run_is_not_announced(capsys: pytest.CaptureFixture[str]) -> None:
    for setting in ("data.paths=(a.txt, b.txt)", "seed=1"):
        assert main(["launch.py", f"--fdl_config={QUICKSTART}", setting, "--dry_run"]) == 0
        assert "sweep " not in capsys.readouterr().out


def test_the_runs_of_a_sweep_are_resumed(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [f"--fdl_config={QUICKSTART}", *SMALL, "seed=0,1", "--run_folder=sweep"]
    assert main(["launch.py", *command]) == 0
    capsys.readouterr()
    for wrong in (["--resume", "--run_folder=sweep"], [*command[:-2], "--resume", "--run_folder=sweep"]):
        assert main(["launch.py", *wrong]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: sweep contains the 2 runs of a sweep.")
        assert "--resume --run_folder=sweep/seed=0\n" in error
        again = next(line for line in error.splitlines() if "python launch.py" in line)
        assert shlex.split(again)[2:] == [*command, "--resume"]
    assert sorted(path.name for path in Path("sweep").iterdir()) == ["seed=0", "seed=1", "sweep.csv"]
    assert main(["launch.py", *shlex.split(again)[2:]]) == 0
    assert capsys.readouterr().out.count("resumed  after step 1") == 2


def test_nothing_starts_when_one_of_them_cannot(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch.py", f"--fdl_config={QUICKSTART}", *SMALL, "graph=absorb,absorp", "--run_folder=sweep"]) == 1
    assert "Did you mean 'graph_absorb'?" in capsys.readouterr().err
    assert not Path("sweep").exists()


def test_a_run_that_fails_leaves_the_others(
    text: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = checkpoints.save

    def full_at_first(folder: Path, *rest: object) -> None:
        if "seed=0" in str(folder):
            raise UserError("The disk is full.")
        save(folder, *rest)

    monkeypatch.setattr(checkpoints, "save", full_at_first)
    assert main(["launch.py", f"--fdl_config={QUICKSTART}", *SMALL, "seed=0,1", "--run_folder=sweep"]) == 1
    captured = capsys.readouterr()
    assert "error: The disk is full." in captured.out
    assert "1 of 2 runs failed: seed=0." in captured.err
    assert Path("sweep/seed=1/validation.txt").is_file()
    rows = list(csv.DictReader(Path("sweep/sweep.csv").read_text().splitlines()))
    assert [(row["seed"], row["failed"], row["folder"]) for row in rows] == [
        ("1", "", "sweep/seed=1"),
        ("0", "yes", "sweep/seed=0"),
    ]
    assert math.isfinite(float(rows[0]["bound (nats/token)"]))
    assert rows[1]["bound (nats/token)"] == ""


def test_a_sweep_leaves_a_table_with_means_over_seeds(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["training.batch_size=4,8", "seed=0,1,2"]
    assert main(["launch.py", f"--fdl_config={QUICKSTART}", *SMALL, *sweep, "--run_folder=sweep"]) == 0
    rows = list(csv.DictReader(Path("sweep/sweep.csv").read_text().splitlines()))
    runs, means = rows[:6], rows[6:]
    column = "bound (bits/character)"
    for row in runs:
        nats, bits = json.loads(Path(row["folder"], "results.json").read_text())
        assert bits["value"] == float(row[column])
        assert bits["standard_error"] == float(row[f"{column} standard error"])
        assert nats["value"] == float(row["bound (nats/token)"])
    assert [float(row["bound (nats/token)"]) for row in rows[:6]] == sorted(
        float(row["bound (nats/token)"]) for row in runs
    )
    assert [(row["seed"], row["runs"]) for row in means] == [("mean", "3")] * 2
    printed = capsys.readouterr().out
    for row in means:
        size = row["training.batch_size"]
        bounds = [float(run[column]) for run in runs if run["training.batch_size"] == size]
        mean, error = statistics.mean(bounds), statistics.stdev(bounds) / math.sqrt(3)
        assert float(row[column]) == pytest.approx(mean, rel=1e-12)
        assert float(row[f"{column} standard error"]) == pytest.approx(error, rel=1e-9)
        (line,) = (line for line in printed.splitlines() if f"batch_size={size} mean of 3 seeds" in line)
        assert f"{mean:.4f} ± {error:.4f}" in line


def test_rows_without_figures_come_last_and_enter_no_mean() -> None:
    def row(seed: str, *figures: Figure, **named: Any) -> Row:
        return Row({"lr": "1", "seed": seed}, by_column(figures), **named)

    def bound(value: float) -> Figure:
        return Figure("bound", value, "nats/token", 0.1, set="a", n=4)

    other = Figure("bound", 7.0, "nats/token", set="b, c", n=4)
    rows = [row("0", bound(math.nan)), row("1", failed=True), row("2", bound(3.0), other), row("3", bound(-math.inf))]
    found = list(csv.reader(as_csv(compared(rows)).splitlines()))
    assert found[0][2:] == [
        *("bound (nats/token)", "bound (nats/token) standard error", "bound (nats/token) of b, c"),
        *("bound (nats/token) of b, c standard error", "runs", "failed", "folder"),
    ]
    assert [line[1:4] for line in found[1:]] == [
        ["3", "", "0.1"],
        ["2", "3.0", "0.1"],
        ["0", "", "0.1"],
        ["1", "", ""],
        ["mean", "", ""],
    ]
    assert compared([row("0", bound(1.0)), row("1", failed=True)])[-1].runs is None


def test_a_dry_run_of_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch.py", f"--fdl_config={QUICKSTART}", "graph=absorb,uniform", "--dry_run"]) == 0
    captured = capsys.readouterr()
    assert "graph=absorb\n" in captured.out
    assert "graph=uniform\n" in captured.out
    assert "warning: graph=uniform: at t = 1" in captured.err


@pytest.mark.parametrize("show", ["--print_config", "--print_history", "--fdl_help"])
def test_the_configs_of_a_sweep_are_shown(show: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch.py", f"--fdl_config={QUICKSTART}", "graph=absorb,uniform", show]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("graph=")] == ["graph=absorb", "graph=uniform"]
    assert [line.split()[2] for line in lines if line.startswith("graph = ")] == ["graph_absorb", "graph_uniform"]
