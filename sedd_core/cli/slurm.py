"""`--slurm`: submits the runs of a command as one SLURM job; its script is kept in the run's folder."""

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
"""Seconds before a job's time limit at which its run receives the signal to save."""
EARLY = 60
"""Seconds by which SLURM may send that signal early."""
BODY = Path(__file__).with_name("slurm.sh")
"""Shell code of every job; generated lines above it set the job's options and variables."""


@dataclass(frozen=True)
class Slurm:
    """Job options; None leaves an option to the cluster's default."""

    partition: str | None = None
    """Partition of the cluster."""
    account: str | None = None
    """Account to charge."""
    nodes: int = 1
    """Number of nodes."""
    gpus: int = 0
    """GPUs per node, one process each; 0: a run on CPUs, with `ngpus` processes over all nodes (one per node)."""
    mem: str | None = None
    """Memory per node: 200G."""
    cpus: int | None = None
    """CPU cores per process."""
    time: str | None = None
    """Time limit: 24:00:00, 2-12:00:00, or minutes."""
    constraint: str | None = None
    """Node features that the job requires."""
    requeue: int = 20
    """Maximum number of times that the job is requeued after preemption or its time limit."""

    def __post_init__(self) -> None:
        for name, least in {"nodes": 1, "gpus": 0, "cpus": 1, "requeue": 0}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--slurm: {name} must be at least {least}, not {value}.")
        if self.time is not None and seconds_of(self.time) <= GRACE + EARLY:
            raise UserError(
                f"--slurm: time={self.time} is too short: a run receives the signal to save up to {GRACE + EARLY} "
                "seconds before its time limit. Set a longer time."
            )

    def with_processes(self, changes: Changes) -> Changes:
        """The changes with `ngpus` set for a job on GPUs. UserError if they set it already."""
        if not self.gpus:
            return changes
        if any(setting.partition("=")[0].strip() == "ngpus" for setting in changes.settings):
            raise UserError("--slurm with gpus sets the number of processes to nodes * gpus: omit ngpus.")
        return replace(changes, settings=[*changes.settings, f"ngpus={self.nodes * self.gpus}"])

    def tasks(self, runs: Sequence[Run]) -> int:
        """The number of processes per node.

        Args:
            runs: Runs of the job.

        Raises:
            UserError: The runs need different numbers of processes, or processes do not divide evenly over the
                nodes, or a batch does not over the processes.
        """
        counts = {run.ngpus or self.nodes for run in runs}
        if len(counts) > 1:
            raise UserError(
                f"A job array needs the same number of processes in all runs, not ngpus={sorted(counts)}: submit one "
                "job per number."
            )
        (processes,) = counts
        if processes % self.nodes:
            raise UserError(f"{processes} processes (ngpus) cannot be spread evenly over {self.nodes} nodes.")
        for run in runs:
            run.check_processes(processes)
        return processes // self.nodes


def parse_options(text: str) -> Slurm:
    """Parse the job options in `partition=gpu, nodes=2, ...`; values may contain commas.

    Args:
        text: Value of --slurm.

    Raises:
        UserError: An option is malformed, unknown, repeated or out of range.
    """
    values: dict[str, str] = {}
    for item in re.split(r",\s*(?=\w+\s*=)", text.strip()) if text.strip() else []:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not value:
            raise UserError(f"--slurm cannot be parsed at '{item}': write --slurm='partition=gpu, nodes=2, gpus=8'.")
        if name in values:
            raise UserError(f"--slurm sets {name} twice. Remove one.")
        values[name] = value
    return Slurm(**typed_arguments(Slurm, values, "--slurm"))


def script(slurm: Slurm, name: str, folder: Path, runs: Sequence[Run], workspaces: Sequence[Workspace]) -> str:
    """The sbatch script of one run, or of a job array with one task per run.

    Args:
        slurm: Job options.
        name: Name of the job.
        folder: Folder of the job's log.
        runs: Runs of the job.
        workspaces: Workspace of each run.

    Raises:
        UserError: The processes cannot be distributed (see `Slurm.tasks`), or a value contains a control character.
    """
    array = len(workspaces) > 1
    tasks = slurm.tasks(runs)
    log = str(folder.resolve()).replace("%", "%%") + f"/slurm-{'%A_%a' if array else '%j'}.log"
    options = {
        "job-name": name,
        "partition": slurm.partition,
        "account": slurm.account,
        "array": f"0-{len(workspaces) - 1}" if array else None,
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
    command = max((_command(workspace) for workspace in workspaces), key=len)  # with the flags that any run needs
    run_folders = {f"the folder of run {i}": workspace.folder.resolve() for i, workspace in enumerate(workspaces)}
    _check_one_line({**options, **run_folders, "the command": command})
    lines = ["#!/usr/bin/env bash"]
    lines += [f"#SBATCH --{key}={shlex.quote(str(value))}" for key, value in options.items() if value is not None]
    lines += ["#SBATCH --requeue" if slurm.requeue else "#SBATCH --no-requeue", ""]
    folders = [shlex.quote(str(path)) for path in run_folders.values()]
    if array:
        lines += ["runs=(", *(f"    {folder}" for folder in folders), ")"]
        lines += ["run=${runs[$SLURM_ARRAY_TASK_ID]}", "job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"]
    else:
        lines += [f"run={folders[0]}", "job=$SLURM_JOB_ID"]
    lines += [f"command=({command})", f"requeue={slurm.requeue}", f"near={GRACE + EARLY}  # seconds", ""]
    return "\n".join([*lines, BODY.read_text(encoding="utf-8")])


def _check_one_line(values: Mapping[str, object]) -> None:
    """UserError for a control character: text after a newline would be executed as a command of the script."""
    for name, value in values.items():
        if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in str(value)):
            raise UserError(
                f"--slurm: {name} is {str(value)!r}, which contains a control character that a batch script cannot "
                "represent. Write it on one line, or rename the file or folder."
            )


def submit(text: str, folder: Path, sweep: Sequence[Composed], workspaces: Sequence[Workspace]) -> None:
    """Create the runs' folders, write the script, pass it to sbatch, and print how to follow the job.

    Args:
        text: Script of the job.
        folder: Folder of the script.
        sweep: Runs of the job.
        workspaces: Workspace of each run.

    Raises:
        UserError: sbatch is missing or rejected the job; the folders are restored.
    """
    if shutil.which("sbatch") is None:
        raise UserError(
            "--slurm needs the program sbatch, which is not installed here. Submit from a machine of the cluster."
        )
    new = [workspace.folder for workspace in workspaces if not (workspace.folder / "config.json").exists()]
    opened: list[Path] = []
    try:
        for composed, workspace in zip(sweep, workspaces, strict=True):
            with workspace.held():
                if workspace.resume:
                    take_up(workspace, composed.node)
                workspace.open()
            opened.append(workspace.folder)
        job = _sbatch(text, folder)
    except UserError:
        for path in opened:
            if path in new:
                shutil.rmtree(path)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise
    say(f"Submitted job {job}.")
    quoted, array = shlex.quote(str(folder)), len(workspaces) > 1
    for number, workspace in enumerate(workspaces if array else []):
        say(f"  {job}_{number}  {workspace.folder}")
    say(f"folder   {folder}\nstate    squeue --job={job}\ncancel   scancel {job}")
    say(f"log      tail -F {quoted}/{'*/' if array else ''}log.txt")
    say(f"output   tail -F {quoted}/slurm-{job}{'_*' if array else ''}.log")


def seconds_of(time: str) -> int:
    """Seconds of a SLURM time: minutes[:seconds], hours:minutes:seconds, or days-hours[:minutes[:seconds]]."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if match is None:
        raise UserError(f"--slurm: time={time} is not a time: write 24:00:00, 2-12:00:00, or minutes.")
    days, *rest = match.groups()
    numbers = [int(number) for number in rest if number is not None]
    units = (3600, 60, 1) if days is not None or len(numbers) == 3 else (60, 1)
    return int(days or 0) * 86400 + sum(number * unit for number, unit in zip(numbers, units, strict=False))


def _sbatch(text: str, folder: Path) -> str:
    """Submit a script. Returns the job's id. UserError with sbatch's message if rejected; the script is removed."""
    file = folder / "slurm.sh"
    write_text(file, text)
    result = subprocess.run(["sbatch", "--parsable", str(file)], capture_output=True, text=True, check=False)
    if result.returncode:
        file.unlink()
        reason = "; ".join(re.sub(r"^sbatch: (error: |fatal: )?", "", line) for line in result.stderr.splitlines())
        raise UserError(f"SLURM rejected the job: {reason}")
    return result.stdout.strip().partition(";")[0]


def _command(workspace: Workspace) -> str:
    """The command of a task, for a shell in which $run is the run's folder."""
    words = command_of(workspace)
    return " ".join('--run_folder="$run"' if word.startswith("--run_folder=") else shlex.quote(word) for word in words)
