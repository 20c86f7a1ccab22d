"""`--slurm`: the runs of a command as one job of SLURM, by a script that stays in the run's folder."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..build.workspace import Workspace
from ..console import say
from ..errors import UserError
from ..files import write_text
from ..runs.run import Run
from .calls import typed_arguments
from .compose import Changes, Composed
from .processes import command_of
from .resume import take_up

GRACE = 120
"""Seconds before a job's time limit at which its run is told to save."""
EARLY = 60
"""Seconds by which SLURM may be early with that."""

BODY = Path(__file__).with_name("slurm.sh")
"""What a job does; the lines above it in its script say for which run, and with what."""


@dataclass(frozen=True)
class Slurm:
    """What a job asks for; what is not said is as the cluster has it.

    gpus: of each node, with a process each; 0 for a run on CPUs, which has `ngpus` processes over all nodes, or one a
    node. cpus: of each process. mem: of each node, like 200G. time: like 24:00:00. requeue: how often the job goes
    back into the queue after it was preempted or ran out of time.
    """

    partition: str | None = None
    account: str | None = None
    nodes: int = 1
    gpus: int = 0
    mem: str | None = None
    cpus: int | None = None
    time: str | None = None
    constraint: str | None = None
    requeue: int = 20

    def __post_init__(self) -> None:
        for name, least in {"nodes": 1, "gpus": 0, "cpus": 1, "requeue": 0}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--slurm: {name} must be at least {least}, not {value}.")
        if self.time is not None and _seconds(self.time) <= GRACE + EARLY:
            raise UserError(
                f"--slurm: time={self.time} is too short: runs are told to save up to {GRACE + EARLY} seconds before "
                "their time is over."
            )

    def with_processes(self, changes: Changes) -> Changes:
        """The changes with the setting `ngpus` of a job on GPUs. UserError when they set it themselves."""
        if not self.gpus:
            return changes
        if any(setting.partition("=")[0].strip() == "ngpus" for setting in changes.settings):
            raise UserError("--slurm with gpus says how many processes there are, nodes times gpus: leave ngpus out.")
        return replace(changes, settings=[*changes.settings, f"ngpus={self.nodes * self.gpus}"])

    def tasks(self, runs: Sequence[Run]) -> int:
        """Processes a node. UserError when they cannot be spread over the nodes, or a batch over the processes."""
        counts = {run.ngpus or self.nodes for run in runs}
        if len(counts) > 1:
            raise UserError(f"One job array has one number of processes, not ngpus={sorted(counts)}: submit each.")
        (processes,) = counts
        if processes % self.nodes:
            raise UserError(f"{processes} processes (ngpus) cannot be spread evenly over {self.nodes} nodes.")
        for run in runs:
            run.check_processes(processes)
        return processes // self.nodes


def parse_options(text: str) -> Slurm:
    """The options in `partition=gpu, nodes=2, ...`; a comma in a value is no end of it. UserError for a mistake."""
    values: dict[str, str] = {}
    for item in re.split(r",\s*(?=\w+\s*=)", text.strip()) if text.strip() else []:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not value:
            raise UserError(f"--slurm cannot be read at '{item}': write --slurm='partition=gpu, nodes=2, gpus=8'.")
        if name in values:
            raise UserError(f"--slurm has {name} twice.")
        values[name] = value
    return Slurm(**typed_arguments(Slurm, values, "--slurm"))


def script(slurm: Slurm, name: str, folder: Path, runs: Sequence[Run], spaces: Sequence[Workspace]) -> str:
    """The script for sbatch: of one run, or of an array with a task for each. UserError as `Slurm.tasks`."""
    array = len(spaces) > 1
    tasks = slurm.tasks(runs)
    log = str(folder.resolve()).replace("%", "%%") + f"/slurm-{'%A_%a' if array else '%j'}.log"
    options = {
        "job-name": name,
        "partition": slurm.partition,
        "account": slurm.account,
        "array": f"0-{len(spaces) - 1}" if array else None,
        "nodes": slurm.nodes,
        "ntasks-per-node": tasks,
        "gpus-per-node": slurm.gpus or None,
        "cpus-per-task": slurm.cpus,
        "mem": slurm.mem,
        "time": slurm.time,
        "constraint": slurm.constraint,
        "chdir": Path.cwd(),
        "output": log,
        "open-mode": "append",
        "signal": f"USR1@{GRACE}",
    }
    command = max((_command(space) for space in spaces), key=len)  # with the flags that any of them needs
    runs_folders = {f"the folder of run {i}": space.folder.resolve() for i, space in enumerate(spaces)}
    _check_one_line({**options, **runs_folders, "the command": command})
    lines = ["#!/usr/bin/env bash"]
    lines += [f"#SBATCH --{key}={shlex.quote(str(value))}" for key, value in options.items() if value is not None]
    lines += ["#SBATCH --requeue" if slurm.requeue else "#SBATCH --no-requeue", ""]
    folders = [shlex.quote(str(path)) for path in runs_folders.values()]
    if array:
        lines += ["runs=(", *(f"    {folder}" for folder in folders), ")"]
        lines += ["run=${runs[$SLURM_ARRAY_TASK_ID]}", "job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"]
    else:
        lines += [f"run={folders[0]}", "job=$SLURM_JOB_ID"]
    lines += [f"command=({command})", f"requeue={slurm.requeue}", f"near={GRACE + EARLY}  # seconds", ""]
    return "\n".join([*lines, BODY.read_text(encoding="utf-8")])


def _check_one_line(values: Mapping[str, object]) -> None:
    """UserError for a control character: after a newline, the rest of a value would be a command of the script."""
    for name, value in values.items():
        if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in str(value)):
            raise UserError(
                f"--slurm: {name} is {str(value)!r}, which contains a control character: no line of a batch script "
                "can hold it. Write it on one line, or rename the file or folder."
            )


def submit(text: str, folder: Path, sweep: Sequence[Composed], spaces: Sequence[Workspace]) -> None:
    """Open the runs' folders, write the script and hand it to sbatch; say what to do next.

    UserError, with the folders as they were, when SLURM does not take the job.
    """
    if shutil.which("sbatch") is None:
        raise UserError("--slurm needs the program sbatch, which is not here. Submit from a machine of the cluster.")
    new = [space.folder for space in spaces if not (space.folder / "config.json").exists()]
    opened: list[Path] = []
    try:
        for composed, space in zip(sweep, spaces, strict=True):
            with space.held():
                if space.resume:
                    take_up(space, composed.node)
                space.open()
            opened.append(space.folder)
        job = _sbatch(text, folder)
    except UserError:
        for path in opened:
            if path in new:
                shutil.rmtree(path)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise
    say(f"Submitted job {job}.")
    where, array = shlex.quote(str(folder)), len(spaces) > 1
    for number, space in enumerate(spaces if array else []):
        say(f"  {job}_{number}  {space.folder}")
    say(f"folder   {folder}\nstate    squeue --job={job}\ncancel   scancel {job}")
    say(f"follow   tail -F {where}/{'*/' if array else ''}log.txt")
    say(f"all      tail -F {where}/slurm-{job}{'_*' if array else ''}.log")


def _seconds(time: str) -> int:
    """A time as SLURM reads it: minutes[:seconds], hours:minutes:seconds, or days-hours[:minutes[:seconds]]."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if match is None:
        raise UserError(f"--slurm: time={time} is no time: write 24:00:00 or 2-12:00:00, or minutes.")
    days, *rest = match.groups()
    numbers = [int(number) for number in rest if number is not None]
    units = (3600, 60, 1) if days is not None or len(numbers) == 3 else (60, 1)
    return int(days or 0) * 86400 + sum(number * unit for number, unit in zip(numbers, units, strict=False))


def _sbatch(text: str, folder: Path) -> str:
    """The job's number. UserError with sbatch's words when it does not take the script, which is removed then."""
    file = folder / "slurm.sh"
    write_text(file, text)
    result = subprocess.run(["sbatch", "--parsable", str(file)], capture_output=True, text=True, check=False)
    if result.returncode:
        file.unlink()
        words = "; ".join(re.sub(r"^sbatch: (error: |fatal: )?", "", line) for line in result.stderr.splitlines())
        raise UserError(f"SLURM did not take the job: {words}")
    return result.stdout.strip().partition(";")[0]


def _command(space: Workspace) -> str:
    """The command of a task, for a shell in which $run is the run's folder."""
    words = command_of(space)
    return " ".join(
        '--run_folder="$run"' if word.startswith("--run_folder=") else shlex.quote(word) for word in words
    )
