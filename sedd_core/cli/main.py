"""Entry point of `launch.py`: compose an experiment and its settings, then print or execute the run."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ..console import complain, quiet, say
from ..distributed.rank import prepare_allocator, prints_shared_messages, process_rank
from ..errors import INTERRUPTED, ReportedElsewhere, Stopped, UserError, machine_failures_explained
from .arguments import changes_of, parse_command_line

if TYPE_CHECKING:
    from .compose import Changes, Composed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; a user's mistake is printed as one message on standard error.

    Args:
        arguments: Program name and arguments; None: `sys.argv`.

    Returns:
        The exit code.
    """
    arguments = sys.argv if arguments is None else arguments
    try:
        with machine_failures_explained():
            launch(parse_command_line(arguments), arguments)
            sys.stdout.flush()
    except BrokenPipeError:  # the reader closed the pipe: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UserError as error:
        if _is_not_main() or (isinstance(error, ReportedElsewhere) and process_rank().world_size > 1):
            time.sleep(2)  # the first process to exit ends the others: let the one that prints the message be first
        if not isinstance(error, ReportedElsewhere):
            complain(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        if "TORCHELASTIC_RUN_ID" not in os.environ:  # otherwise the launching process prints it
            complain("Interrupted.")
        return INTERRUPTED
    except Stopped as stopped:
        if _is_not_main():
            time.sleep(2)  # srun ends all processes when the first one exits: the main one still closes its monitor
        return stopped.code
    return 0


def _is_not_main() -> bool:
    """Whether another process of the run is the main one; False where the environment is inconsistent."""
    try:
        return process_rank().rank > 0
    except UserError:
        return False


def launch(options: flags.FlagValues, arguments: list[str]) -> None:
    """Compose the run, or the runs of a sweep, and print or execute them.

    Args:
        options: Parsed flags.
        arguments: Command line, for the record.

    Raises:
        UserError: The command line, the experiment or the environment is wrong.
    """
    if process_rank().rank:
        quiet()
        warnings.simplefilter("ignore")  # process 0 shows them
    prepare_allocator()
    from .experiment import load_config, trust_files  # torch, the runs and Fiddle: --help does not need them
    from .show import difference
    from .slurm import parse_options

    if options.trust:
        trust_files()
    if options.fdl_diff:
        say(difference(load_config(options.fdl_diff), load_config(options.fdl_config)))
        return
    changes = changes_of(options)
    job = parse_options(options.slurm) if options.slurm is not None else None
    if job is not None:
        changes = job.with_processes(changes)
    if options.fdl_help or options.print_config or options.print_history:
        _show(options, changes)
        return
    sweep = _compose(options, changes)
    for composed in sweep:
        _check(composed, options)
    if job is not None or not options.dry_run:
        from .execute import start

        start(sweep, job, options, arguments)


def _show(options: flags.FlagValues, changes: Changes) -> None:
    """Print every setting: with its description, with its origin, or with its history."""
    from .compose import configs
    from .experiment import named_sizes
    from .show import resolved, settable, with_history

    for settings, config in configs(options.fdl_config, changes):
        if options.fdl_help:
            text = settable(config, lambda stage: named_sizes(options.fdl_config, stage))
        else:
            text = (with_history if options.print_history else resolved)(config)
        say(f"{','.join(settings)}\n{text}".lstrip("\n"))


def _compose(options: flags.FlagValues, changes: Changes) -> list[Composed]:
    """Compose every run; a sweep is announced. UserError for a record or folder that cannot be used this way."""
    from .compose import announcement, compose
    from .resume import check_not_of_a_sweep, check_replay

    target = options.fdl_config
    if options.resume:
        check_not_of_a_sweep(Path(options.run_folder), Path(target))
    if target.endswith(".json") and not _is_own_record(target, options):
        check_replay(Path(target), options.allow_changes)
    sweep = compose(target, changes)
    if len(sweep) > 1:
        say(announcement(target, changes, len(sweep)))
    elif options.resume:
        check_not_of_a_sweep(Path(options.run_folder))
    return sweep


def _is_own_record(target: str, options: flags.FlagValues) -> bool:
    """Whether a record is that of the run to be resumed."""
    return bool(options.resume) and Path(options.run_folder).resolve() in Path(target).resolve().parents


def _check(composed: Composed, options: flags.FlagValues) -> None:
    """Reject stages that do not fit together, and print warnings, before any data is read."""
    from ..checkpoints import check_exists
    from .show import resolved

    description = composed.run.describe()
    for path, format in composed.run.starts_from() if not options.resume else []:
        check_exists(Path(path), format)
    if not (options.no_checks or options.resume):
        composed.run.check_contracts()
    if prints_shared_messages():
        for warning in composed.run.warnings():
            complain(f"warning: {composed.label and composed.label + ': '}{warning}")
    if options.dry_run:
        text = f"{composed.label}\n{resolved(composed.config)}\n\n{description}\n{composed.run.describe_memory()}"
        say(text.strip("\n"))


def entry() -> None:
    """Run `main` and end the process with its exit code.

    The current folder is on the import path, so that experiments in it can import each other.
    """
    sys.path.append(str(Path.cwd()))
    sys.exit(main())
