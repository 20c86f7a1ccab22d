"""Several processes from one command: PyTorch's elastic launcher starts each process on the run's folder."""

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
    """The command that starts or resumes the run in a workspace's folder.

    -P keeps the current folder off the front of the import path, where its files would shadow the standard library.
    """
    command = [sys.executable, "-P", "-m", "sedd_core", "launch", f"--run_folder={workspace.folder}", "--resume"]
    if any(node.kind == "file" for node in workspace.record.run.nodes()):  # the user has started that file
        command.append("--trust")
    return [*command, "--allow_changes"] if workspace.allow_changes else command


def start(workspace: Workspace, node: Node, processes: int, max_restarts: int) -> list[Figure]:
    """Execute a run in several processes of this machine.

    This process locks the folder while it writes the record, then the main process of the run does. When a process
    fails, all restart from the newest checkpoint.

    Args:
        workspace: Workspace of the run.
        node: Record node of the run.
        processes: Number of processes.
        max_restarts: Maximum number of restarts.

    Returns:
        The figures of the run.

    Raises:
        UserError: A process failed and no restart is left (the folder of a run that did nothing is removed), or the
            machine runs Windows.
    """
    if WINDOWS:
        raise UserError("Several processes on one machine require Linux or macOS: on Windows, set ngpus=1.")
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
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # otherwise restarts fail: pytorch issue 135712
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")  # saving may take longer than torch's 30 seconds
    logging.disable(logging.ERROR)  # torch logs each signal that it forwards and each process that fails
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
    except SignalException as error:  # forwarded to the processes, which have saved
        raise Stopped(INTERRUPTED if error.sigval == signal.SIGINT else STOPPED) from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        if code in (STOPPED, INTERRUPTED):  # one process got the signal and stopped the others
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
    """Within: the first Ctrl-C is forwarded to the processes, which save; the second one kills everything."""
    from torch.distributed.elastic.multiprocessing.api import SignalException

    def first(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, second)
        write_from_handler(SAVING)
        raise SignalException("interrupted", sigval=signal.SIGINT)

    def second(number: int, frame: Any) -> None:
        for child in _children():
            os.kill(child, signal.SIGKILL)
        os._exit(INTERRUPTED)  # torch's exit would wait for the processes

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _children() -> list[int]:
    """The ids of this process's children on Linux; [] on other systems."""
    files = Path("/proc/self/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]
