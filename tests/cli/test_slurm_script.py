"""`--slurm` without SLURM: its options, the script that it writes, and every error message."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from sedd_core import UserError
from sedd_core.cli import slurm
from sedd_core.cli.main import main
from sedd_core.cli.slurm import Slurm, parse_options, seconds_of
from tests.support.runs import ROOT, TINY, run, write_text

ALL = "partition=gpu,long, account=lab, nodes=2, gpus=4, mem=200G, cpus=12, time=1-0, constraint=a100|h100, requeue=3"
SBATCH = """#!/usr/bin/env bash
cp "${@: -1}" submitted.sh
echo "$SAYS" | tee /dev/stderr
exit $CODE
"""


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for sbatch that accepts every job as number 77."""
    program("sbatch", SBATCH, monkeypatch)
    monkeypatch.setenv("SAYS", "77;cluster")
    monkeypatch.setenv("CODE", "0")


def program(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path("bin", name).absolute()
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    if str(file.parent) not in os.environ["PATH"]:
        monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")


def options(text: str) -> dict[str, str]:
    """The #SBATCH lines of a script, by name."""
    return dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE))


HOSTILE = "x\ntouch owned"


@pytest.mark.parametrize("field", ["partition", "account", "mem", "constraint"])
@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x85", "\u2028"])
def test_a_control_character_in_a_value_is_refused(
    field: str, character: str, sbatch: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for show in ([], ["--dry_run"]):
        run(*TINY, f"--slurm={field}=x{character}touch owned", "--run_folder=run", *show, code=1)
        captured = capsys.readouterr()
        assert f"--slurm: {field} is 'x" in captured.err
        assert "touch owned" not in captured.out
    assert not Path("submitted.sh").exists()
    assert not Path("run").exists()


@pytest.mark.parametrize("place", ["run folder", "current folder", "experiment", "sweep"])
def test_a_newline_in_a_name_is_refused(
    place: str, sbatch: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = "--run_folder=run"
    words = [*TINY, "--slurm=", "data.paths=" + str(Path("text.txt").absolute())]
    if place == "run folder":
        folder = f"--run_folder={HOSTILE}"
    elif place == "current folder":
        Path(HOSTILE).mkdir()
        monkeypatch.chdir(HOSTILE)
    elif place == "experiment":
        Path(f"{HOSTILE}.py").write_text("from experiments.quickstart import config")
        monkeypatch.syspath_prepend(ROOT)
        words[0] = f"--fdl_config={HOSTILE}.py"
    else:
        Path(HOSTILE).mkdir()
        folder = f"--run_folder={HOSTILE}"
        words.append("seed=0,1")
    run(*words, folder, code=1)
    assert "contains a control character" in capsys.readouterr().err
    assert not Path("submitted.sh").exists()


def test_options_are_read() -> None:
    assert parse_options("") == parse_options("  ") == Slurm()
    assert parse_options(ALL) == Slurm(
        partition="gpu,long",
        account="lab",
        nodes=2,
        gpus=4,
        mem="200G",
        cpus=12,
        time="1-0",
        constraint="a100|h100",
        requeue=3,
    )
    assert parse_options("partition=7").partition == "7"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partion=gpu", "no argument 'partion'. Did you mean 'partition'"),
        ("nodes=two", "nodes takes int, not 'two'"),
        ("nodes=0", "nodes must be at least 1, not 0"),
        ("gpus=-1", "gpus must be at least 0, not -1"),
        ("cpus=0", "cpus must be at least 1, not 0"),
        ("requeue=-1", "requeue must be at least 0, not -1"),
        ("gpu", "cannot be parsed at 'gpu'"),
        ("partition=", "cannot be parsed at 'partition='"),
        ("nodes=1, nodes=2", "nodes twice"),
        ("time=soon", "time=soon is not a time"),
        ("time=3", "time=3 is too short: a run receives the signal to save up to 180 seconds"),
    ],
)
def test_a_mistake_in_the_options(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_options(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("5", 300), ("5:30", 330), ("1:00:01", 3601), ("2-3", 183600), ("2-3:4", 183840), ("2-3:4:5", 183845)],
)
def test_times(time: str, seconds: int) -> None:
    assert seconds_of(time) == seconds


def test_the_script_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run prints the script, without SLURM and without writing files."""
    before = sorted(Path().rglob("*"))
    run(*TINY, f"--slurm={ALL}", "--run_folder=a run", "--dry_run")
    out = capsys.readouterr().out
    assert sorted(Path().rglob("*")) == before
    assert "ngpus = 8" in out
    text = out[out.index("#!/usr/bin/env bash") :]
    here = Path.cwd()
    assert options(text) == {
        **{"job-name": "quickstart", "partition": "gpu,long", "account": "lab", "nodes": "2", "mem": "200G"},
        **{"ntasks-per-node": "4", "gpus-per-node": "4", "cpus-per-task": "12", "time": "1-0"},
        **{"constraint": "'a100|h100'", "chdir": str(here), "output": f"'{here}/a run/slurm-%j.log'"},
        **{"open-mode": "append", "signal": "USR1@120", "requeue": ""},
    }
    assert f"run='{here}/a run'\n" in text
    assert '-m sedd_core launch --run_folder="$run" --resume)' in text
    assert "requeue=3\n" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_on_cpus_ngpus_says_how_many(capsys: pytest.CaptureFixture[str]) -> None:
    for sets, slurm_options, tasks in [([], "nodes=2", "1"), (["ngpus=4"], "nodes=2", "2"), (["ngpus=2"], "", "2")]:
        run(*TINY, *sets, f"--slurm={slurm_options}", "--dry_run")
        text = capsys.readouterr().out
        assert options(text)["ntasks-per-node"] == tasks
        assert "gpus-per-node" not in options(text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--slurm=gpus=3"], "training.batch_size=8 cannot be divided among 3 processes"),
        (["--slurm=gpus=2", "ngpus=2"], "omit ngpus"),
        (["--slurm=nodes=3", "ngpus=4"], "4 processes (ngpus) cannot be spread evenly over 3 nodes"),
        (["--slurm=", "ngpus=2,4"], "not ngpus=[2, 4]"),
        (["--slurm=gpus=2", "graph=absorp"], "Did you mean"),
    ],
)
def test_what_cannot_run_is_not_submitted(
    arguments: list[str], words: str, sbatch: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run(*TINY, *arguments, "--run_folder=run", code=1)
    assert words in capsys.readouterr().err
    assert not Path("run").exists()
    assert not Path("submitted.sh").exists()


def test_without_slurm_a_job_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    run(*TINY, "--slurm=", "--run_folder=run", code=1)
    assert "sbatch, which is not installed here" in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_run_is_submitted(sbatch: None, capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "--slurm=partition=low", "--run_folder=run")
    out = capsys.readouterr().out
    for words in ("Submitted job 77.", "tail -F run/log.txt", "tail -F run/slurm-77.log", "scancel 77"):
        assert words in out
    assert Path("submitted.sh").read_text() == Path("run/slurm.sh").read_text()
    assert sorted(path.name for path in Path("run").iterdir()) == [
        "config.json",
        "config.txt",
        "run.lock",
        "slurm.sh",
    ]
    run(*TINY, "--slurm=partition=low", "--run_folder=run", code=1)
    assert "run is not empty" in capsys.readouterr().err
    assert Path("run/config.json").exists()
    run("--slurm=partition=low", "--run_folder=run", "--resume", "optimizer.lr=5", code=1)
    assert "optimizer.lr makes this a different run" in capsys.readouterr().err
    run("--slurm=partition=high", "--run_folder=run", "--resume", "training.steps=20")
    assert "training.steps = 20" in Path("run/config.txt").read_text()
    assert options(Path("submitted.sh").read_text())["partition"] == "high"


def test_a_sweep_is_an_array(sbatch: None, capsys: pytest.CaptureFixture[str]) -> None:
    run(*TINY, "graph=absorb,uniform", "--slurm=", "--run_folder=sweep")
    text = Path("submitted.sh").read_text()
    assert options(text)["array"] == "0-1"
    assert options(text)["output"] == f"{Path.cwd()}/sweep/slurm-%A_%a.log"
    assert "77_1  sweep/graph=uniform" in capsys.readouterr().out
    head = text[: text.index("# One task")]
    command = ["bash", "-c", f'{head}\necho "$run $job"; echo "${{command[@]}}"']
    environment = {**os.environ, "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "1"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    folder = Path.cwd() / "sweep" / "graph=uniform"
    assert said.splitlines()[0] == f"{folder} 77_1"
    assert f"--run_folder={folder} --resume" in said.splitlines()[1]
    assert (folder / "config.json").is_file()


@pytest.mark.parametrize("sweep", ["seed=1", "seed=1,2"])
def test_what_slurm_refuses_leaves_nothing(
    sweep: str, sbatch: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAYS", "sbatch: error: invalid account")
    monkeypatch.setenv("CODE", "1")
    run(*TINY, sweep, "--slurm=", "--run_folder=run", code=1)
    assert "error: SLURM rejected the job: invalid account" in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_class_of_the_experiments_file_is_trusted(sbatch: None, capsys: pytest.CaptureFixture[str]) -> None:
    own = (
        "import fiddle as fdl\nfrom experiments.quickstart import config as quickstart\n"
        "from sedd_core.stages import Noise, NoiseLevel\n\n"
        "class Line(Noise):\n    '''sigma = 5 t.'''\n"
        "    def forward(self, t):\n        return NoiseLevel(t, 5 * t, 5 + 0 * t)\n"
        "    def time(self, sigma):\n        return sigma / 5\n\n"
        "def config():\n    run = quickstart()\n    run.noise = fdl.Config(Line)\n    return run\n"
    )
    Path("mine.py").write_text(own)
    assert main(["launch.py", "--fdl_config=mine.py", *TINY[1:], "--slurm=", "--run_folder=run"]) == 0
    assert '--run_folder="$run" --resume --trust)' in Path("submitted.sh").read_text()


ENDS = {
    "it came to its end": (0, "N/A 1", 0, ""),
    "a mistake": (1, "N/A 1", 0, ""),
    "a mistake of a preempted run": (1, "900 1", 0, ""),
    "a process died, and srun ended the others": (143, "N/A 9999999999", 0, ""),
    "the same without a time limit": (143, "N/A NONE", 0, ""),
    "the controller does not answer": (143, "", 0, ""),
    "preempted": (143, "900 9999999999", 0, "requeue 5"),
    "preempted while it started": (138, "900 9999999999", 2, "requeue 5"),
    "near its time limit": (143, "N/A 1000", 0, "requeue 5"),
    "too often": (143, "900 9999999999", 3, "Not requeued: the limit of 3 requeues is reached"),
}


@pytest.mark.parametrize("end", ENDS)
def test_which_ends_are_requeued(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script's shell code with stand-ins for the SLURM commands."""
    code, times, restarts, words = ENDS[end]
    program("srun", f"#!/bin/sh\nexit {code}", monkeypatch)
    program("squeue", f"#!/bin/sh\necho '{times}'", monkeypatch)
    program("scontrol", '#!/bin/sh\necho "$@"', monkeypatch)
    program("sleep", "#!/bin/sh\n", monkeypatch)
    head = "job=5\ncommand=(true)\nrequeue=3\nnear=180\n"
    environment = {**os.environ, "SLURM_JOB_ID": "5", "SLURM_RESTART_COUNT": str(restarts)}
    script = ["bash", "-c", head + slurm.BODY.read_text()]
    result = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (code, "")
    assert (words in result.stdout) if words else (result.stdout == "")


def test_processes_do_not_meet_those_of_another_job(monkeypatch: pytest.MonkeyPatch) -> None:
    program("scontrol", "#!/bin/sh\nprintf 'node7\\nnode8\\n'", monkeypatch)
    program("srun", '#!/bin/sh\necho "$MASTER_ADDR $MASTER_PORT $OMP_NUM_THREADS"', monkeypatch)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    said = []
    for job in ("59999", "60000"):
        environment = {**os.environ, "SLURM_JOB_ID": job, "SLURM_CPUS_PER_TASK": "12"}
        body = ["bash", "-c", f"command=(true)\n{slurm.BODY.read_text()}"]
        said.append(subprocess.run(body, env=environment, capture_output=True, text=True, check=True).stdout)
    assert said == ["node7 29999 12\n", "node7 10000 12\n"]


def test_the_test_bed_says_how_it_is_used() -> None:
    file = ROOT / "scripts" / "slurm_testbed.sh"
    result = subprocess.run([file], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "start FOLDER" in result.stdout
