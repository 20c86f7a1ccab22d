"""Kill a tiny training run repeatedly, and compare its files with those of an undisturbed run.

    python scripts/kill_runs.py [--random=100] [--aimed=20] [--seed=0] [--folder=FOLDER]

Kills at random times hit one process, one of two, or the launcher of two; aimed kills occur just before a given
operation on a given file (an audit event), or in the middle of a TensorBoard record. After each kill the run is
resumed. Its final files must equal those of the undisturbed run bit by bit: weights, averaged weights, optimizer
state, log, samples, bound, and each point in TensorBoard. The exit code is 0 if all do.

All runs are forked from a process that has imported torch: each start then takes 1 s instead of 10 s.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.append(str(Path(__file__).parents[1]))

import sedd_core.cli.compose
import sedd_core.runs.train  # noqa: F401 - both before the first fork
from sedd_core.cli.main import main as launch
from tests.support.runs import ROOT, TINY, assert_same, points, write_text

RUN = [
    *(*TINY, "training.steps=16", "training.eval_every=4", "checkpoints.every=4", "training.log_every=2"),
    *("--resume", "--trust"),
]
PATIENCE = 120.0
"""Seconds that a process may take to exit after another one was killed."""
HELD = "Another run is active in"
"""Start of the message with which a run is refused while the lock of another one is held."""

Aim = tuple[str, str, int]
"""Moment of a kill: audit event, pattern of its path, and the number of the matching event (from 1)."""
MIDDLE: Aim = ("record", "", 80)
"""Moment in the middle of training, with half a TensorBoard record on the disk."""
AIMS: dict[str, tuple[Aim, ...]] = {
    "config.txt begun": (("open", r"/config\.txt\.tmp$", 1),),
    "config.txt before its rename": (("os.rename", r"/config\.txt$", 1),),
    "between config.txt and the record": (("open", r"/config\.json\.tmp$", 1),),
    "record before its rename": (("os.rename", r"/run/config\.json$", 1),),
    "token cache, a shard": (("os.rename", r"/cache/[\w.]+\.parts/\d+$", 1),),
    "token cache begun": (("open", r"/cache/[\w.]+\.parts/[^/]+\.tmp/ends$", 1),),
    "token cache, its sizes": (("os.rename", r"/corpus\.json$", 1),),
    "token cache before its rename": (("os.rename", r"/cache/\w+$", 1),),
    "token cache between two splits": (("os.rename", r"/cache/\w+$", 2),),
    "checkpoint before its checksums": (("open", r"/checkpoints/step_\d+\.tmp/sha256$", 2),),
    "checkpoint before its rename": (("os.rename", r"/checkpoints/step_\d+$", 3),),
    "checkpoint between its two renames": (("os.rename", r"/checkpoints/newest$", 3),),
    "checkpoint while old ones are removed": (("shutil.rmtree", r"/checkpoints/step_\d+$", 2),),
    "samples begun": (("open", r"/samples/step_\d+\.tmp/sample_1\.txt$", 1),),
    "samples before their rename": (("os.rename", r"/samples/step_\d+$", 2),),
    "last samples": (("open", r"/samples/step_\d+\.tmp/sample_0\.txt$", 4),),
    "validation.txt": (("os.rename", r"/validation\.txt$", 1),),
    "results.json": (("os.rename", r"/results\.json$", 1),),
    "TensorBoard begun": (("open", "tfevents", 1),),
    "TensorBoard in a record": (MIDDLE,),
    "TensorBoard, removing later points": (MIDDLE, ("os.rename", "tfevents", 1)),
    "metrics.jsonl, between the two files of a line": (("open", r"/metrics\.jsonl$", 5),),
    "metrics.jsonl, removing later lines": (MIDDLE, ("os.rename", r"/metrics\.jsonl$", 1)),
    "log.txt, removing later lines": (MIDDLE, ("os.rename", r"/log\.txt$", 1)),
    "twice in a record": (MIDDLE, ("record", "", 45)),
}


class Life:
    """One execution of a run, from start or resumption to exit or kill.

    Args:
        kind: Processes: "one", "two", or "launcher" (two with their launcher).
        work: Folder of the run, its data and its cache.
        aim: Moment at which each process kills itself; None for never.
    """

    def __init__(self, kind: str, work: Path, aim: Aim | None = None) -> None:
        self.output = work / "output.txt"
        arguments = [*RUN, f"--run_folder={work / 'run'}", f"ngpus={1 if kind == 'one' else 2}"]
        os.environ["SEDD_CACHE"] = str(work / "cache")
        self.output.unlink(missing_ok=True)
        if kind == "launcher":
            with self.output.open("wb") as output:
                command = [sys.executable, str(ROOT / "launch.py"), *arguments]
                self.processes = [subprocess.Popen(command, cwd=work, stdout=output, stderr=output).pid]
        elif kind == "one":
            self.processes = [self._fork(work, arguments, {}, aim)]
        else:
            meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": "2"}
            ranks = [{**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]
            self.processes = [self._fork(work, arguments, ranks[rank], aim) for rank in (0, 1)]
        self.codes: dict[int, int] = {}

    def _fork(self, work: Path, arguments: Sequence[str], environment: dict[str, str], aim: Aim | None) -> int:
        number = os.fork()
        if number:
            return number
        code = 1
        try:
            output = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(work)
            os.environ.update(environment)
            if aim is not None:
                _aim(*aim)
            code = launch(["launch.py", *arguments])
        finally:
            sys.stdout.flush()
            os._exit(code)

    def wait(self, seconds: float) -> bool:
        """Wait for all processes. Returns whether they exited within this time."""
        until = time.monotonic() + seconds
        while len(self.codes) < len(self.processes):
            for number in set(self.processes) - set(self.codes):
                ended, status = os.waitpid(number, os.WNOHANG)
                if ended:
                    self.codes[number] = os.waitstatus_to_exitcode(status)
            if time.monotonic() > until:
                return len(self.codes) == len(self.processes)
            time.sleep(0.005)
        return True

    def kill(self, which: Sequence[int]) -> bool:
        """Kill some of the processes. Returns whether any of them was still alive."""
        hit = [number for number in which if number not in self.codes]
        for number in hit:
            os.kill(number, signal.SIGKILL)
        return bool(hit)

    def end(self) -> None:
        """Wait for all processes; if one fails, send SIGTERM to the others, as launchers do.

        Raises:
            AssertionError: A process hangs.
        """
        while not any(self.codes.values()) and not self.wait(0.1):
            pass
        for number in set(self.processes) - set(self.codes):
            os.kill(number, signal.SIGTERM)
        if not self.wait(PATIENCE):
            self.kill(self.processes)
            raise AssertionError(f"a process did not exit within {PATIENCE:.0f} s\n{self.tail()}")

    def whole(self) -> bool:
        """Whether every process exited with code 0."""
        return set(self.codes.values()) == {0}

    def tail(self) -> str:
        """The end of the processes' output."""
        return self.output.read_text(errors="replace")[-3000:]


def _aim(event: str, pattern: str, count: int) -> None:
    """Arrange for this process to be killed at the `count`-th matching event."""
    if event == "record":
        _aim_at_record(count)
        return
    left = count

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        path = str(arguments[1 if name == "os.rename" else 0]) if name == event else ""
        if path and re.search(pattern, path):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _aim_at_record(count: int) -> None:
    """Arrange for this process to be killed with half of a TensorBoard record on the disk."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    write, left = RecordWriter.write, count

    def torn(self: RecordWriter, data: bytes) -> None:
        nonlocal left
        left -= 1
        write(self, data)
        if left == 0:
            self.flush()
            file = self._writer
            os.truncate(file.name, os.path.getsize(file.name) - len(data) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    RecordWriter.write = torn


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


class Trial:
    """Runs in a folder, and the undisturbed runs to compare them with.

    Args:
        folder: Folder of all runs.
        say: Function that prints a line.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self.stats: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        for kind in ("one", "two"):
            started, life = time.monotonic(), Life(kind, self.new(f"whole-{kind}"))
            life.end()
            assert life.whole(), life.tail()
            self.seconds[kind] = time.monotonic() - started
        self.seconds["launcher"] = self.seconds["two"] + 8
        say(f"undisturbed: one process {self.seconds['one']:.1f} s, two {self.seconds['two']:.1f} s")

    def new(self, name: str) -> Path:
        """Create a folder with the training text."""
        work = self.folder / name
        work.mkdir(parents=True)
        write_text(work)
        return work

    def compare(self, kind: str, work: Path) -> None:
        """Compare a run with the undisturbed one. AssertionError for any difference."""
        whole = self.folder / ("whole-one" if kind == "one" else "whole-two")
        assert_same(str(work / "run"), str(whole / "run"))
        texts = [points(path / "run")["config/text_summary", 0] for path in (work, whole)]
        assert texts[0] == texts[1]
        for name in ("config.txt", "samples"):
            assert (work / "run" / name).exists(), name
        self.stats[f"compared, {kind}"] += 1
        shutil.rmtree(work)

    def finish(self, kind: str, work: Path) -> None:
        """Resume a run until it is complete, and compare it."""
        for _ in range(60):
            life = Life(kind, work)
            life.end()
            if HELD not in life.tail():
                assert life.whole(), life.tail()
                break
            self.stats["refused while the lock was held"] += 1
        else:
            raise AssertionError("the lock of a killed run is still held after 60 attempts to resume")
        self.compare(kind, work)

    def at_random(self, kind: str, kills: int, draw: random.Random) -> None:
        """Kill runs at times that are uniform over their duration."""
        run = 0
        work = self.new(f"{kind}-{run}")
        while kills:
            life = Life(kind, work)
            if life.wait(draw.uniform(0, 1.05 * self.seconds[kind])):
                if HELD in life.tail():
                    self.stats["refused while the lock was held"] += 1
                    continue
                assert life.whole(), life.tail()
                self.compare(kind, work)
                run += 1
                work = self.new(f"{kind}-{run}")
            elif life.kill(self.victims(life, kind, draw)):
                kills -= 1
                self.stats[f"random kills, {kind}"] += 1
                life.end()
        self.finish(kind, work)

    def victims(self, life: Life, kind: str, draw: random.Random) -> list[int]:
        """The processes to kill: one or all; with a launcher, the launcher or one of its workers."""
        if kind == "launcher":
            children = Path(f"/proc/{life.processes[0]}/task/{life.processes[0]}/children").read_text().split()
            return [draw.choice([life.processes[0], *map(int, children)])]
        return draw.choice([life.processes, *([number] for number in life.processes)])

    def aimed(self, name: str, kind: str) -> None:
        """Kill one run at each moment of an aim, resume it, and compare it."""
        work = self.new(f"{kind}-{list(AIMS).index(name)}-aimed")
        for aim in AIMS[name]:
            life = Life(kind, work, aim)
            life.end()
            assert -signal.SIGKILL in life.codes.values(), f"{name}: no event matched the aim\n{life.tail()}"
            self.stats[f"aimed kills, {kind}"] += 1
        self.finish(kind, work)


def main() -> int:
    """Run all trials. Returns the exit code: 1 if a run lost data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=100, help="Number of kills at random times.")
    parser.add_argument(
        "--aimed", type=int, default=len(AIMS), help="Number of aims, each with one and with two processes."
    )
    parser.add_argument("--seed", type=int, default=0, help="Random seed of times, victims and aims.")
    parser.add_argument("--folder", type=Path, help="Folder of the runs; default: a temporary folder.")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    started, draw = time.monotonic(), random.Random(options.seed)
    trial = Trial(folder, lambda text: print(text, flush=True))
    lost = []
    jobs: list[tuple[str, Callable[[], None]]] = []
    names = draw.sample(list(AIMS), min(options.aimed, len(AIMS)))
    jobs += [(f"{name}, {kind}", lambda n=name, k=kind: trial.aimed(n, k)) for name in names for kind in ("one", "two")]
    shares = {"launcher": options.random // 10, "two": options.random * 4 // 10}
    shares["one"] = options.random - sum(shares.values())
    jobs += [
        (f"{kills} at random, {kind}", lambda k=kind, n=kills: trial.at_random(k, n, draw))
        for kind, kills in shares.items()
    ]
    for name, job in jobs:
        try:
            job()
            trial.say(f"ok    {name}")
        except AssertionError as error:
            lost.append(name)
            trial.say(f"LOST  {name}: {error}")
    figures = ", ".join(f"{count} {what}" for what, count in sorted(trial.stats.items()))
    trial.say(f"seed {options.seed}: {figures}; {len(lost)} lost; {time.monotonic() - started:.0f} s")
    if not lost and options.folder is None:
        shutil.rmtree(folder)
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
