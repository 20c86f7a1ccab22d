"""`launch.py`: an experiment, its settings, and the run."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ..errors import STOPPED, Stopped, Told, UserError
from ..place import place
from .flags import FLAGS, SHORT

if TYPE_CHECKING:
    from ..runs.base import Workspace
    from .compose import Changes, Composed

USAGE = "python launch.py --fdl_config=experiments/quickstart.py [path=value ...] [--dry_run]"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Mistakes of the user's are one message on standard error."""
    arguments = sys.argv if arguments is None else arguments
    try:
        launch(_parse(arguments), arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UserError as error:
        if place()[0]:
            time.sleep(2)  # a mistake that all processes see is the main one's to tell, and ends the others
        if not isinstance(error, Told):
            print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"error: {error}. Go on with --resume once there is room.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if "TORCHELASTIC_RUN_ID" not in os.environ:  # else said by who started this process
            print("Interrupted.", file=sys.stderr)
        return 130
    except Stopped:
        if place()[0]:
            time.sleep(2)  # srun ends the others when the first one is gone: the main one has its monitor to close
        return STOPPED
    return 0


def _parse(arguments: list[str]) -> flags.FlagValues:
    FLAGS.unparse_flags()
    for flag in FLAGS:
        FLAGS[flag].unparse()
    try:
        rest = FLAGS(arguments)[1:]
    except (flags.Error, ValueError) as error:  # absl's own ValueError: --nodry_run=x
        hint = ""
        if isinstance(error, flags.UnrecognizedFlagError) and "=" in error.flagvalue:
            hint = f" Settings have no dashes: {error.flagvalue.lstrip('-')}."
        known = ", ".join(f"--{name}" for name in FLAGS if name != "h")
        raise UserError(f"{str(error).rstrip('.')}.{hint} Flags: {known}. See --help.") from error
    if FLAGS.help:
        print(f"{USAGE}\n\n{FLAGS.get_help(include_special_flags=False)}")
        raise SystemExit(0)
    for flag in ("fdl_config", "fdl_config_file", "fdl_diff", "run_folder"):
        if FLAGS[flag].value is not None:  # a shell leaves the ~ of --flag=~/file
            FLAGS[flag].value = os.path.expanduser(str(FLAGS[flag].value))
    if FLAGS.fdl_diff is not None:
        if len(rest) != 1 or FLAGS.fdl_config or FLAGS.fdl_config_file or FLAGS.fdl_set:
            raise UserError(
                "Two things are compared, as they are: --fdl_diff=A B, each an experiment or a run's config.json."
            )
        FLAGS.fdl_diff, FLAGS.fdl_config, FLAGS.fdl_set = _record_in(FLAGS.fdl_diff), _record_in(rest[0]), []
        return FLAGS
    for word in rest:
        if "=" not in word:
            raise UserError(f"'{word}' is no flag and no setting. Settings are written path=value.")
    if FLAGS.fdl_config and FLAGS.fdl_config_file:
        raise UserError("Give an experiment (--fdl_config) or a record (--fdl_config_file), not both.")
    if FLAGS.fdl_config_file:
        FLAGS.fdl_config = _record_in(FLAGS.fdl_config_file)
        if not FLAGS.fdl_config.endswith(".json"):
            raise UserError(
                f"{FLAGS.fdl_config} is no record: --fdl_config_file takes a run's config.json or its folder, "
                "--fdl_config an experiment."
            )
    restarted = any(int(os.environ.get(name, 0)) for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))
    FLAGS.resume = FLAGS.resume or (restarted and FLAGS.run_folder is not None)
    if FLAGS.resume and not FLAGS.run_folder:
        raise UserError("--resume goes on with the run in --run_folder: name that too.")
    if FLAGS.resume and not FLAGS.fdl_config:
        FLAGS.fdl_config = f"{FLAGS.run_folder}/config.json"
    if not FLAGS.fdl_config:
        raise UserError(f"No experiment is named. For example: {USAGE}")
    FLAGS.fdl_set = [*FLAGS.fdl_set, *rest]
    return FLAGS


def _record_in(path: str) -> str:
    """The record of a run's folder; any other path as it is."""
    record = Path(path) / "config.json"
    return str(record) if record.is_file() else path


def launch(options: flags.FlagValues, arguments: list[str]) -> None:
    """Compose the run, or the runs of a sweep, and print or execute them."""
    from ..checkpoint import check_there
    from ..runs.base import Workspace  # the runs and Fiddle are imported here: --help need not wait for them
    from .compose import compose, configs, execute_all, folder_names
    from .experiment import load, name_of_run, named_sizes, trust_files
    from .provenance import record_of
    from .show import difference, history_of, resolved, settable
    from .slurm import read, script, submit

    target = options.fdl_config
    if options.trust:
        trust_files()
    if options.fdl_diff:
        print(difference(load(options.fdl_diff), load(target)))
        return
    changes = _changes(options)
    job = read(options.slurm) if options.slurm is not None else None
    if job is not None:
        changes = job.with_processes(changes)
    if options.fdl_help or options.print_config or options.print_history:
        for label, config in configs(target, changes):
            if options.fdl_help:
                text = settable(config, lambda stage: named_sizes(target, stage))
            else:
                text = (history_of if options.print_history else resolved)(config)
            print(f"{label}\n{text}".lstrip("\n"))
        return
    sweep = compose(target, changes)
    for composed in sweep:
        description = composed.run.describe()  # parts that do not fit each other are found before any data is read
        for path in composed.run.starts_from() if not options.resume else []:
            check_there(Path(path))
        if place()[0] == 0:
            for warning in composed.run.warnings():
                print(f"warning: {composed.label and composed.label + ': '}{warning}", file=sys.stderr)
        if options.dry_run:
            print(f"{composed.label}\n{resolved(composed.config)}\n\n{description}".lstrip("\n"))
    if options.dry_run and job is None:
        return
    folder = Path(options.run_folder or Path("runs") / name_of_run(target) / time.strftime("%Y%m%d-%H%M%S"))
    execute = partial(_execute, options=options)
    names = folder_names([composed.label for composed in sweep])
    spaces = [
        Workspace(
            folder / name if len(sweep) > 1 else folder,
            record_of(composed.node, shlex.join(arguments)),
            resolved(composed.config) + "\n",
            resume=options.resume,
            allow_changes=options.allow_changes,
        )
        for composed, name in zip(sweep, names, strict=True)
    ]
    for space in spaces if place()[0] == 0 and not options.dry_run else []:
        space.check()
    if job is not None:
        text = script(job, name_of_run(target), folder, [composed.run for composed in sweep], spaces)
        print(f"\n{text}", end="") if options.dry_run else submit(text, folder, sweep, spaces)
    elif len(sweep) == 1:
        execute(sweep[0], spaces[0])
    else:
        execute_all(list(zip(sweep, spaces, strict=True)), execute)


def _execute(composed: Composed, workspace: Workspace, options: flags.FlagValues) -> dict[str, str]:
    """Run one run: here, or where it wants several processes and this is none of them, in those."""
    from ..console import quiet
    from ..distributed import join, leave
    from .processes import start
    from .resume import take_up

    if place()[0]:
        quiet()
    if workspace.resume:
        take_up(workspace, composed.node)
    processes = composed.run.processes()
    if place()[1] == 1 and processes > 1:
        return start(workspace, processes, options.max_restarts)
    workspace.world = join()
    workspace.folder = workspace.world.gather(workspace.folder)[0]  # the main one's time of start
    figures = composed.run.execute(workspace)
    workspace.write_results(figures)
    workspace.world.wait()  # a process that leaves early takes the others' connection with it
    leave()
    return figures


def _changes(options: flags.FlagValues) -> Changes:
    """All that changes the experiment; of the settings, first the short flags, then --fdl_set, then bare ones."""
    from .compose import Changes
    from .experiment import load
    from .settings import first_known

    given = {flag: options[flag].value for flag in SHORT if options[flag].value is not None}
    config = load(options.fdl_config) if given else None
    texts = {flag: value if flag == "steps" else repr(value) for flag, value in given.items()}  # commas are no sweep
    short = [f"{first_known(config, SHORT[flag], f'--{flag}')}={text}" for flag, text in texts.items() if config]
    return Changes(options.fiddler, options.fdl_tags_set, [*short, *options.fdl_set], options.sweep)


def entry() -> None:
    """The program's entry: like `main`, ending the process with its exit code.

    Experiments below the current folder can import each other, wherever the program itself lies.
    """
    sys.path.append(str(Path.cwd()))
    sys.exit(main())
