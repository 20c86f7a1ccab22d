"""Execution of composed runs: their folders, their processes, or their SLURM job."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from absl import flags

from ..build.workspace import Workspace
from ..console import say
from ..distributed.rank import process_rank
from ..distributed.world import join, leave
from ..errors import UserError, machine_failures_explained
from ..files import new_folder, remove_empty
from ..model.memory import explained
from ..record.figures import Figure
from . import processes
from .arguments import step_to_resume
from .compose import Composed, folder_names
from .experiment import name_of_run
from .provenance import record_of_run
from .resume import take_up
from .show import resolved
from .slurm import Slurm, script, submit
from .sweep import execute_all


def start(sweep: Sequence[Composed], job: Slurm | None, options: flags.FlagValues, arguments: list[str]) -> None:
    """Execute the runs one after the other, or submit them (with --dry_run: print the script) as one SLURM job.

    Args:
        sweep: Composed runs, at least one.
        job: Job options; None: run on this machine.
        options: Parsed flags.
        arguments: Command line, for the record.

    Raises:
        UserError: A folder cannot be used, a run failed, or SLURM rejected the job.
    """

    def execute(composed: Composed, workspace: Workspace) -> list[Figure]:
        with (
            machine_failures_explained(workspace.folder),
            explained("the run", "the size of the model, or data.length"),
        ):
            return _execute(composed, workspace, options)

    with _run_folder(options) as folder:
        workspaces = _workspaces(sweep, folder, options, arguments)
        if job is not None:
            runs = [composed.run for composed in sweep]
            text = script(job, name_of_run(options.fdl_config), folder, runs, workspaces)
            say(f"\n{text}".rstrip("\n")) if options.dry_run else submit(text, folder, sweep, workspaces)
        elif len(sweep) == 1:
            execute(sweep[0], workspaces[0])
        else:
            execute_all(list(zip(sweep, workspaces, strict=True)), execute, folder)


@contextmanager
def _run_folder(options: flags.FlagValues) -> Iterator[Path]:
    """Within: the output folder, --run_folder or a new one that no other start uses.

    A new folder is created immediately, since two starts may occur in the same second; an empty one is removed.
    """
    if options.run_folder:
        yield Path(options.run_folder)
        return
    folder = Path("runs") / name_of_run(options.fdl_config) / time.strftime("%Y%m%d-%H%M%S")
    if options.dry_run or process_rank().rank:  # the main process sends its folder to the others
        yield folder
        return
    try:
        folder = new_folder(folder)
    except OSError as error:
        raise UserError(
            f"The run folder {folder} cannot be created: {error.strerror}. Use another one: --run_folder=..."
        ) from error
    try:
        yield folder
    finally:
        remove_empty([folder, *folder.parents[:2]])


def _workspaces(
    sweep: Sequence[Composed], folder: Path, options: flags.FlagValues, arguments: list[str]
) -> list[Workspace]:
    """The workspace of each run. UserError, before the first run starts, for a folder that cannot be used."""
    names = folder_names([composed.label for composed in sweep])
    workspaces = [
        Workspace(
            folder / name if len(sweep) > 1 else folder,
            record_of_run(composed.node, shlex.join(arguments)),
            resolved(composed.config) + "\n",
            resume=bool(options.resume),
            from_step=step_to_resume(options),
            allow_changes=options.allow_changes,
        )
        for composed, name in zip(sweep, names, strict=True)
    ]
    # several processes check together, in `Workspace.held`
    if process_rank().world_size == 1 and not options.dry_run:
        for workspace in workspaces:
            workspace.check()
    return workspaces


def _execute(composed: Composed, workspace: Workspace, options: flags.FlagValues) -> list[Figure]:
    """Execute one run in this process, or launch its processes when it needs several and this is none of them."""
    count = composed.run.processes()
    if process_rank().world_size == 1 and count > 1:
        return processes.start(workspace, composed.node, count, options.max_restarts)
    try:
        workspace.world = world = join()
        workspace.folder = world.gather(workspace.folder)[0]  # the main process's time of start
        with workspace.held():
            if workspace.resume:
                world.agree(lambda: take_up(workspace, composed.node))
            figures = composed.run.execute(workspace)
            world.agree(lambda: workspace.write_results(figures))  # a process that leaves early closes the connection
    finally:
        leave()
    return figures
