"""The same run in any shape: one process, two, or accumulation; and processes that end badly."""

from __future__ import annotations

import ast
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sedd_core import UserError
from sedd_core.build.workspace import Workspace
from sedd_core.cli.processes import command_of
from sedd_core.distributed.rank import process_rank
from sedd_core.distributed.world import World
from sedd_core.record import Node, Record
from sedd_core.training.batches import accumulation, draws_of, microbatches
from sedd_core.training.settings import Training
from tests.support.planted import Plant, check_found
from tests.support.runs import ROOT, TINY, apart, log, losses, points, run, weights, write_text

EXACT = [*TINY, "model.dropout=0"]


@pytest.fixture(autouse=True)
def _text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)


def assert_close(one: str, other: str) -> None:
    """The same losses and weights to the rounding of float32, after AdamW has made the most of it."""
    assert torch.allclose(losses(one), losses(other), rtol=2e-3)
    for name, value in weights(one).items():
        assert torch.allclose(value, weights(other)[name], atol=2e-4), name


@pytest.mark.parametrize("accum", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_accumulation_changes_nothing(accum: int) -> None:
    run(*EXACT, "--run_folder=one")
    run(*EXACT, "--run_folder=other", f"training.accum={accum}")
    assert_close("one", "other")
    run(*EXACT, "--run_folder=another_seed", "seed=1")
    with pytest.raises(AssertionError):
        assert_close("one", "another_seed")


def test_parts_follow_from_the_sequences_that_fit() -> None:
    """The fewest parts of at most `microbatch` sequences: the same command on 1 and on 8 processes."""
    published = Training(steps=1, batch_size=512, microbatch=16)
    assert [accumulation(published, processes) for processes in (1, 2, 8, 32, 64)] == [32, 16, 4, 1, 1]
    assert [len(microbatches(published, World(size=size))[0]) for size in (1, 8, 64)] == [16, 16, 8]
    assert accumulation(Training(steps=1, batch_size=36, microbatch=8), 1) == 6  # of 6: 5 parts would leave a rest
    assert accumulation(Training(steps=1, batch_size=7, microbatch=3), 1) == 7
    with pytest.raises(UserError, match="batch_size=9 cannot be divided among 2 processes with 1 accumulation steps"):
        microbatches(Training(steps=1, batch_size=9, microbatch=2), World(size=2))
    with pytest.raises(ValueError, match="microbatch=8 and accum=2 both set the gradient accumulation"):
        Training(steps=1, batch_size=16, microbatch=8, accum=2)
    run(*EXACT, "--run_folder=one", "training.accum=4", "training.steps=4")
    run(*EXACT, "--run_folder=other", "training.microbatch=3", "training.steps=4")
    assert torch.equal(losses("one"), losses("other"))
    run("--resume", "--run_folder=other", "training.microbatch=1", "training.steps=5")


@pytest.mark.parametrize("graph", ["absorb", pytest.param("uniform", marks=pytest.mark.slow)])
def test_two_processes_train_as_one(graph: str) -> None:
    """Gradients by DDP over gloo, validation and samples shared: the files of one process, the numbers of one."""
    run(*EXACT, f"graph={graph}", "--run_folder=one")
    said = apart(*EXACT, f"graph={graph}", "ngpus=2", "training.accum=2", "--run_folder=two")
    calls = {"absorb": 8, "uniform": 10}[graph]  # of both: 4 steps each; absorb leaves nothing to denoise
    assert f"{calls} network calls" in said
    assert_close("one", "two")
    one, two = (sorted(str(p.relative_to(f)) for p in Path(f).rglob("*") if p.is_file()) for f in ("one", "two"))
    assert [name for name in one if "events" not in name] == [name for name in two if "events" not in name]
    texts = [Path(f, "samples/step_000000004/sample_1.txt").read_text() for f in ("one", "two")]
    assert len(texts[0]) == len(texts[1]) == 16
    assert "ngpus" in str(points(Path("two"))["config/text_summary", 0])


def test_an_experiments_own_class_is_trusted_wherever_it_stands() -> None:
    own = Node("file", "Mine", file="mine.py")
    for args in ({"noise": own}, {"more_valid": (own,)}):
        assert "--trust" in command_of(Workspace(Path("run"), Record(Node("core", "Train", args))))
    assert "--trust" not in command_of(Workspace(Path("run"), Record(Node("core", "Train", {"seed": 0}))))


@pytest.mark.slow
def test_a_run_goes_on_in_another_number_of_processes() -> None:
    run(*EXACT, "--run_folder=one", "training.steps=6")
    run("--resume", "--run_folder=one", "training.steps=12", "ngpus=2")
    run(*EXACT, "--run_folder=two", "ngpus=2", "training.steps=6")
    run("--resume", "--run_folder=two", "training.steps=12", "ngpus=1")
    run(*EXACT, "--run_folder=whole")
    assert_close("one", "whole")
    assert_close("two", "whole")


LATE = """
import fiddle as fdl
from experiments.quickstart import config as quickstart
from sedd_core.stages import Noise, NoiseLevel

class Late(Noise):
    '''Next to none in the first half of the time, which is the first process's half of a batch of two.'''
    def forward(self, t):
        late = (t > 0.5).double()
        return NoiseLevel(t, 1e-9 * t + 10 * late * (t - 0.5), 1e-9 + 10 * late)
    def time(self, sigma):
        return sigma / 10 + 0.5

def config():
    run = quickstart()
    run.noise = fdl.Config(Late)
    return run
"""


def test_a_process_that_sees_no_mask_trains_along(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(LATE)
    late = ["--fdl_config=late.py", *EXACT[1:], "training.batch_size=2", "--no_checks"]  # its time is no inverse
    run(*late, "--run_folder=one")
    run(*late, "ngpus=2", "--run_folder=two")
    assert_close("one", "two")


@pytest.mark.slow
def test_padding_counts_the_same_in_any_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents of 2 to 37 characters in sequences of 16: each process has another number of tokens that count."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    texts = ["the cat sat on the mat, and saw a dog"[:n] for n in range(2, 38)]
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    hub = "data=hub(name='texts.jsonl', tokenizer='char', vocab=None, packing='document', valid_documents=8)"
    documents = [EXACT[0], hub, "data.length=16", *(setting for setting in EXACT[1:] if "data." not in setting)]
    for folder, shape in {"one": "ngpus=1", "parts": "training.accum=2", "two": "ngpus=2"}.items():
        run(*documents, shape, f"--run_folder={folder}")
    assert_close("one", "parts")
    assert_close("one", "two")


def test_the_launcher_passes_on_the_first_interrupt_and_ends_at_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's launcher, replaced by one that the terminal interrupts once or twice while its processes save."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.launcher import api

    seen: list[object] = []
    worker = subprocess.Popen(["sleep", "600"], start_new_session=True)

    def interrupted(count: int) -> Callable[..., Callable[..., None]]:
        def launch(config: api.LaunchConfig, program: str) -> Callable[..., None]:
            seen.append(config.signals_to_handle)

            def processes(*arguments: str) -> None:
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                except SignalException as error:
                    seen.append(error.sigval)
                    for _ in range(count - 1):
                        os.kill(os.getpid(), signal.SIGINT)
                    raise

            return processes

        return launch

    before = signal.getsignal(signal.SIGINT)
    for count in (1, 2):
        monkeypatch.setattr(api, "elastic_launch", interrupted(count))
        monkeypatch.setattr("os._exit", seen.append)
        assert worker.poll() is None
        run(*EXACT, "ngpus=2", f"--run_folder=run{count}", code=130)
    assert worker.wait(60) == -signal.SIGKILL
    assert seen == ["SIGTERM,SIGUSR1,SIGHUP", signal.SIGINT, "SIGTERM,SIGUSR1,SIGHUP", signal.SIGINT, 130]
    assert signal.getsignal(signal.SIGINT) == before


def test_a_mistake_in_several_processes_is_one_message() -> None:
    said = apart(*EXACT, "ngpus=2", "training.batch_size=9", "--run_folder=run", code=1)
    assert said.count("error: ") == 1
    assert "training.batch_size=9 cannot be divided among 2 processes" in said
    assert "one of 1, 3, 9" in said
    assert "Traceback" not in said
    assert not Path("run").exists()


SHADOW = "from pathlib import Path\nPath('ran').touch()\nraise SystemExit('the current folder was imported from')\n"


@pytest.mark.slow
@pytest.mark.parametrize("program", [("-m", "sedd_core", "launch"), ("launch.py",)])
def test_files_of_the_current_folder_shadow_nothing(program: tuple[str, ...], tmp_path: Path) -> None:
    """With one process and with two, by the module or by `launch.py` in that folder; experiments are still found."""
    for name in ("random", "statistics", "absl", "fiddle"):
        (tmp_path / f"{name}.py").write_text(SHADOW)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/base.py").write_text("from experiments.quickstart import config as base\n")
    (tmp_path / "mine/own.py").write_text("from mine.base import base\n\n\ndef config():\n    return base()\n")
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "launch.py").write_text((ROOT / "launch.py").read_text())
    short = ["--fdl_config=mine/own.py", *EXACT[1:], "training.steps=2", "monitor=None"]
    apart(*short, *([] if program == ("launch.py",) else ["ngpus=2"]), "--run_folder=run", program=program)
    assert log("run")
    assert not (tmp_path / "ran").exists()


def test_what_fails_in_one_process_ends_all(tmp_path: Path) -> None:
    """Each of two, by each kind of error; the main one alone tells a mistake, whose ever it is."""
    code = (
        "import sys, torch.distributed as dist; from sedd_core.distributed.world import World\n"
        "from sedd_core.errors import ReportedElsewhere, Stopped, UserError\n"
        "rank = int(sys.argv[1])\n"
        "dist.init_process_group('gloo', init_method='file://' + sys.argv[2], rank=rank, world_size=2)\n"
        "world = World(rank, 2)\n"
        "def work(error, where):\n"
        "    if rank in where: raise error\n"
        "    return rank\n"
        "def seen(error, *where):\n"
        "    try: return world.agree(lambda: work(error, where))\n"
        "    except Exception as e: return f'{type(e).__name__}: {e}'\n"
        "print([seen(OSError('full')), seen(UserError('no'), 0), seen(UserError('no'), 1), seen(UserError('no'), 0, 1),\n"
        "       seen(OSError('full'), 0), seen(OSError('full'), 1), seen(Stopped(), 1)])\n"
        "dist.barrier(); dist.destroy_process_group()"
    )
    command = [sys.executable, "-c", code]
    both = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    said = [ast.literal_eval(process.communicate(timeout=120)[0]) for process in both]
    elsewhere, other = "ReportedElsewhere: process 0: ", "ReportedElsewhere: process 1: "
    mine = "UserError: no"
    assert said[0] == [0, mine, mine, mine, "OSError: full", f"{other}full", "Stopped: 143"]
    assert said[1] == [
        1,
        f"{elsewhere}no",
        f"{other}no",
        f"{elsewhere}no",
        f"{elsewhere}full",
        "OSError: full",
        "Stopped: 143",
    ]


@pytest.mark.slow
def test_a_mistake_that_only_the_main_process_sees_ends_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes as torchrun starts them, in a folder that holds something: neither waits for the other."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("mine")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    both = []
    for rank in ("0", "1"):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}
        command = [sys.executable, str(ROOT / "launch.py"), *EXACT, "--run_folder=run"]
        both.append(
            subprocess.Popen(
                command, env={**os.environ, **place}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
            )
        )
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [1, 1], said
    assert (
        said[0]
        == "error: run is not empty. Name another folder: --run_folder=...; or continue the run in it: --resume\n"
    )
    assert said[1] == ""


LOUD = """
import warnings
import fiddle as fdl
from experiments.quickstart import config as quickstart
from sedd_core.training.settings import Optimizer

class Loud(Optimizer):
    def make(self, parameters):
        warnings.warn("the optimizer is made")
        return super().make(parameters)

def config():
    run = quickstart()
    run.optimizer = fdl.Config(Loud)
    return run
"""


@pytest.mark.slow
def test_several_processes_warn_as_one(tmp_path: Path) -> None:
    """Neither the launcher and process 0, nor all processes, say the same; Python's own warnings are process 0's."""
    (tmp_path / "loud.py").write_text(LOUD)
    settings = [*EXACT[1:], "graph=uniform", "training.steps=1", "samples.count=0", "ngpus=2"]
    said = apart("--fdl_config=loud.py", *settings, "--run_folder=run")
    assert said.count("warning: head.scale_by_sigma=true suits graphs with a mask") == 1
    assert said.count("UserWarning: the optimizer is made") == 1


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("count", [0, 1, 2, 8, 11])
def test_things_are_shared_whole_also_among_more_processes_than_things(count: int) -> None:
    shares = [World(rank=rank, size=8).share(count) for rank in range(8)]
    assert sorted(torch.cat(shares).tolist()) == list(range(count))
    assert max(map(len, shares)) <= min(map(len, shares)) + 1


@pytest.mark.parametrize("local", [0, 1])
def test_the_first_process_of_a_machine_works_before_the_others(local: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each agreement waits for all."""
    events: list[str] = []

    def agree(self: World, work: Callable[[], object]) -> object:
        value = work()
        events.append("all")
        return value

    monkeypatch.setattr(World, "agree", agree)
    for name, value in (("RANK", 6 + local), ("WORLD_SIZE", 8), ("LOCAL_RANK", local)):
        monkeypatch.setenv(name, str(value))
    assert World(rank=6 + local, size=8).in_turn(lambda: events.append("work") or 7) == 7
    assert events == (["all", "work", "all"] if local else ["work", "all", "all"])


def test_every_sequence_of_a_batch_is_taken_once() -> None:
    training = Training(steps=1, batch_size=24, accum=3)
    shares = [torch.cat(microbatches(training, World(rank=rank, size=4))) for rank in range(4)]
    assert sorted(torch.cat(shares).tolist()) == list(range(24))
    assert {len(part) for rank in range(4) for part in microbatches(training, World(rank=rank, size=4))} == {2}
    with pytest.raises(UserError, match=r"must be one of 1, 2, 3, 4, 6, 8, 12, 24\."):
        microbatches(training, World(rank=0, size=5))


@pytest.mark.parametrize("accum", [1, 4])
def test_every_process_and_every_part_sees_all_times_alike(accum: int) -> None:
    """Each of 8 processes has one time in each of its parts' equal shares of (0, 1), as the whole batch has."""
    training, size = Training(steps=1, batch_size=256, accum=accum, t_min=1e-9), 8
    whole = draws_of(training, 0, torch.arange(256), step=0).strata("time")
    each = 256 // (size * accum)
    for part in (part for rank in range(size) for part in microbatches(training, World(rank=rank, size=size))):
        assert (whole[part] * each).floor().tolist() == list(range(each))
        assert torch.equal(
            draws_of(training, 0, part, step=0).strata("time"), whole[part]
        )  # the same batch, divided otherwise


def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_rank() == (0, 1, 0)
    for name, value in {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1"}.items():
        monkeypatch.setenv(name, value)
    assert process_rank() == (5, 8, 1)
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    assert process_rank() == (3, 4, 3)


def test_parts_of_a_batch_are_synchronized_once(tmp_path: Path) -> None:
    """One exchange of gradients an update, however many parts it has."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    from tests.support.trainers import trainer

    learner = trainer("absorb", "loglinear", scale=True)
    learner.microbatches = list(torch.arange(learner.training.batch_size).view(4, -1))
    exchanged = []

    def count(state, bucket):  # DDP takes no annotations that are texts
        exchanged.append(bucket.index())
        future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        learner.loss = DistributedDataParallel(learner.loss)
        learner.loss.register_comm_hook(None, count)
        learner.step(0)
        assert exchanged.count(0) == 1
    finally:
        dist.destroy_process_group()


PLANTS: dict[str, Plant] = {
    "neighbors of one process in its parts": (
        "sedd_core.training.batches:microbatches",
        ".view(-1, accumulation(training, world.size), world.size)[:, :, world.rank].T",
        ".view(accumulation(training, world.size), world.size, -1)[:, world.rank]",
        lambda seed: test_every_process_and_every_part_sees_all_times_alike(1),
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_found(PLANTS[name], seed, monkeypatch)
