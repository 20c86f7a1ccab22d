"""`launch.py`: an experiment, its settings, and the run."""

from __future__ import annotations

import os
import shlex
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ..console import complain, quiet, say
from ..distributed.rank import prints_shared_messages, process_rank
from ..errors import INTERRUPTED, ReportedElsewhere, Stopped, UserError, machine_failures_explained
from .arguments import changes_of, parse_command_line, step_to_resume

if TYPE_CHECKING:
    from ..build.workspace import Workspace
    from ..record.figures import Figure
    from .compose import Changes, Composed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Mistakes of the user's are one message on standard error."""
    arguments = sys.argv if arguments is None else arguments
    try:
        with machine_failures_explained():
            launch(parse_command_line(arguments), arguments)
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UserError as error:
        if _is_not_main() or (isinstance(error, ReportedElsewhere) and process_rank()[1] > 1):
            time.sleep(2)  # whoever leaves first ends the others: that is for the one that tells
        if not isinstance(error, ReportedElsewhere):
            complain(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        if "TORCHELASTIC_RUN_ID" not in os.environ:  # else said by who started this process
            complain("Interrupted.")
        return INTERRUPTED
    except Stopped as stopped:
        if _is_not_main():
            time.sleep(2)  # srun ends the others when the first one is gone: the main one has its monitor to close
        return stopped.code
    return 0


def _is_not_main() -> bool:
    """Whether another process of the run is the main one; False where the environment is in disorder."""
    try:
        return process_rank()[0] > 0
    except UserError:
        return False


def launch(options: flags.FlagValues, arguments: list[str]) -> None:
    """Compose the run, or the runs of a sweep, and print or execute them."""
    if process_rank()[0]:
        quiet()
        warnings.simplefilter("ignore")  # process 0 shows them
    from ..model.memory import (
        explained,  # torch, the runs and Fiddle are imported here: --help need not wait for them
    )
    from .compose import announcement, compose
    from .experiment import load_config, name_of_run, trust_files
    from .resume import check_not_of_a_sweep, check_replay
    from .show import difference
    from .slurm import parse_options, script, submit
    from .sweep import execute_all

    target = options.fdl_config
    if options.trust:
        trust_files()
    if options.fdl_diff:
        say(difference(load_config(options.fdl_diff), load_config(target)))
        return
    changes = changes_of(options)
    job = parse_options(options.slurm) if options.slurm is not None else None
    if job is not None:
        changes = job.with_processes(changes)
    if options.fdl_help or options.print_config or options.print_history:
        _look(options, changes)
        return
    if options.resume:
        check_not_of_a_sweep(Path(options.run_folder), Path(target))
    if target.endswith(".json") and not _is_own(target, options):
        check_replay(Path(target), options.allow_changes)
    sweep = compose(target, changes)
    if len(sweep) > 1:
        say(announcement(target, changes, len(sweep)))
    elif options.resume:
        check_not_of_a_sweep(Path(options.run_folder))
    for composed in sweep:
        _examine(composed, options)
    if options.dry_run and job is None:
        return

    def execute(composed: Composed, workspace: Workspace) -> list[Figure]:
        with (
            machine_failures_explained(workspace.folder),
            explained("the run", "the size of the model, or data.length"),
        ):
            return _execute(composed, workspace, options)

    with _folder(options) as folder:
        spaces = _workspaces(sweep, folder, options, arguments)
        if job is not None:
            text = script(job, name_of_run(target), folder, [composed.run for composed in sweep], spaces)
            say(f"\n{text}".rstrip("\n")) if options.dry_run else submit(text, folder, sweep, spaces)
        elif len(sweep) == 1:
            execute(sweep[0], spaces[0])
        else:
            execute_all(list(zip(sweep, spaces, strict=True)), execute, folder)


@contextmanager
def _folder(options: flags.FlagValues) -> Iterator[Path]:
    """Within: where the command works, --run_folder or a folder that no other start has.

    The latter is made at once, since two starts may fall into one second, and removed if nothing comes of it.
    """
    from ..files import new_folder, remove_empty
    from .experiment import name_of_run

    if options.run_folder:
        yield Path(options.run_folder)
        return
    folder = Path("runs") / name_of_run(options.fdl_config) / time.strftime("%Y%m%d-%H%M%S")
    if options.dry_run or process_rank()[0]:  # the main process says the folder to the others
        yield folder
        return
    try:
        folder = new_folder(folder)
    except OSError as error:
        raise UserError(
            f"The run folder {folder} cannot be made: {error.strerror}. Name another one: --run_folder=..."
        ) from error
    try:
        yield folder
    finally:
        remove_empty([folder, *folder.parents[:2]])


def _is_own(target: str, options: flags.FlagValues) -> bool:
    """Whether a record is the one of the run that is resumed."""
    return bool(options.resume) and Path(options.run_folder).resolve() in Path(target).resolve().parents


def _look(options: flags.FlagValues, changes: Changes) -> None:
    """Print what can be set, or what is set and where."""
    from .compose import configs
    from .experiment import named_sizes
    from .show import resolved, settable, with_history

    for settings, config in configs(options.fdl_config, changes):
        if options.fdl_help:
            text = settable(config, lambda stage: named_sizes(options.fdl_config, stage))
        else:
            text = (with_history if options.print_history else resolved)(config)
        say(f"{','.join(settings)}\n{text}".lstrip("\n"))


def _examine(composed: Composed, options: flags.FlagValues) -> None:
    """Find parts that do not fit each other, and warn of what is unwise, before any data is read."""
    from ..checkpoints.load import check_exists
    from .show import resolved

    description = composed.run.describe()
    for path in composed.run.starts_from() if not options.resume else []:
        check_exists(Path(path))
    if not (options.no_checks or options.resume):
        composed.run.check_contracts()
    if prints_shared_messages():
        for warning in composed.run.warnings():
            complain(f"warning: {composed.label and composed.label + ': '}{warning}")
    if options.dry_run:
        text = f"{composed.label}\n{resolved(composed.config)}\n\n{description}\n{composed.run.describe_memory()}"
        say(text.strip("\n"))


def _workspaces(
    sweep: Sequence[Composed], folder: Path, options: flags.FlagValues, arguments: list[str]
) -> list[Workspace]:
    """Where each run works. UserError, before the first one starts, for a folder that cannot be had."""
    from ..build.workspace import Workspace
    from .compose import folder_names
    from .provenance import record_of_run
    from .show import resolved

    names = folder_names([composed.label for composed in sweep])
    spaces = [
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
    if process_rank()[1] == 1 and not options.dry_run:  # several processes look together, in `Workspace.held`
        for space in spaces:
            space.check()
    return spaces


def _execute(composed: Composed, workspace: Workspace, options: flags.FlagValues) -> list[Figure]:
    """Run one run: here, or where it wants several processes and this is none of them, in those."""
    from ..distributed.world import join, leave
    from .processes import start
    from .resume import take_up

    processes = composed.run.processes()
    if process_rank()[1] == 1 and processes > 1:
        return start(workspace, composed.node, processes, options.max_restarts)
    workspace.world = world = join()
    workspace.folder = world.gather(workspace.folder)[0]  # the main one's time of start
    with workspace.held():
        if workspace.resume:
            world.agree(lambda: take_up(workspace, composed.node))
        figures = composed.run.execute(workspace)
        world.agree(
            lambda: workspace.write_results(figures)
        )  # a process that leaves early takes the connection along
    leave()
    return figures


def entry() -> None:
    """The program's entry: like `main`, ending the process with its exit code.

    Experiments below the current folder can import each other, wherever the program itself lies.
    """
    sys.path.append(str(Path.cwd()))
    sys.exit(main())
