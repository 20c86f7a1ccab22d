"""Several processes from one command: torch's own elastic launcher, each process going on from the run's folder."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..build.workspace import Workspace
from ..distributed.preemption import SAVING, handled_signals, write_from_handler
from ..distributed.rank import LAUNCHER
from ..errors import INTERRUPTED, STOPPED, ReportedElsewhere, Stopped, UserError
from ..files import WINDOWS
from ..record import Node
from ..record.figures import Figure
from .resume import take_up


def command_of(workspace: Workspace) -> list[str]:
    """The command that runs, or goes on with, what a run's folder describes.

    -P: the current folder is not first on the import path, where its files would shadow the standard library.
    """
    command = [sys.executable, "-P", "-m", "sedd_core", "launch", f"--run_folder={workspace.folder}", "--resume"]
    if any(node.kind == "file" for node in workspace.record.run.nodes()):  # the user named that experiment
        command.append("--trust")
    return [*command, "--allow_changes"] if workspace.allow_changes else command


def start(workspace: Workspace, node: Node, processes: int, max_restarts: int) -> list[Figure]:
    """Run what a workspace and a node describe in several processes of this machine. Returns the run's figures.

    The folder is locked while its record is written, then by the main one of those processes. When one fails, all
    start again from the newest checkpoint, up to `max_restarts` times. UserError, with the reason, when that is used
    up; a folder in which nothing has happened yet is removed then. UserError on Windows.
    """
    if WINDOWS:
        raise UserError("Several processes of one machine need Linux or macOS: on Windows, set ngpus=1.")
    with workspace.held():
        if workspace.resume:
            take_up(workspace, node)
        workspace.open()
    try:
        _launch(workspace, processes, max_restarts)
    except UserError:
        workspace.remove_unbegun()
        raise
    return workspace.results()


def _launch(workspace: Workspace, processes: int, max_restarts: int) -> None:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // processes, 1)))
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # else restarts fail: pytorch issue 135712
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")  # saving may take longer than torch's 30 seconds
    logging.disable(logging.ERROR)  # torch's, of each signal that it passes on and each process that fails
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"{LAUNCHER}{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=max_restarts,
        signals_to_handle=",".join(number.name for number in handled_signals() if number != signal.SIGINT),
    )
    try:
        program, *arguments = command_of(workspace)
        with _interruptible():
            elastic_launch(config, program)(*arguments)
    except SignalException as error:  # passed on to the processes, which have saved
        raise Stopped(INTERRUPTED if error.sigval == signal.SIGINT else STOPPED) from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        if code in (STOPPED, INTERRUPTED):  # one of them was told, and has told the others
            raise Stopped(code) from error
        if code > 0:
            raise ReportedElsewhere(f"process {rank} ended with exit code {code}") from error
        memory = " (out of memory?)" if code == -9 else ""  # SIGKILL, which Windows lacks
        raise UserError(
            f"Process {rank} was killed by signal {-code}{memory}, and the others were stopped. "
            f"To continue from the newest checkpoint: {workspace.command('--resume')}"
        ) from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within: a first Ctrl-C is passed on to the processes, which save; a second one ends launcher and processes."""
    from torch.distributed.elastic.multiprocessing.api import SignalException

    def first(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, second)
        write_from_handler(SAVING)
        raise SignalException("interrupted", sigval=signal.SIGINT)

    def second(number: int, frame: Any) -> None:
        for child in _children():
            os.kill(child, signal.SIGKILL)
        os._exit(INTERRUPTED)  # torch would wait for the processes

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _children() -> list[int]:
    """The processes that this one started, as Linux lists them; none elsewhere."""
    lists = Path("/proc/self/task").glob("*/children")
    return [int(child) for one in lists for child in one.read_text().split()]
