"""`launch.py`: an experiment, its settings, and the run."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Any

from absl import flags

from ..errors import UserError

# Fiddle's own flags of these names mean function names and take wrong types silently, so they are not imported.
FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "fdl_config",
    None,
    "The experiment: FILE.py, FILE.py:FUNCTION or FILE.py:FUNCTION(argument=value).",
    flag_values=FLAGS,
)
flags.DEFINE_string("fdl_config_file", None, "A run's config.json, to run again.", flag_values=FLAGS)
flags.DEFINE_string("fdl_diff", None, "Compare --fdl_diff=A with B: experiments or config.json.", flag_values=FLAGS)
flags.DEFINE_multi_string(
    "fdl_set", [], "A setting, path=value or stage=variant; may be given many times.", flag_values=FLAGS
)
flags.DEFINE_string("checkpoint", None, "Short for the setting `checkpoint`.", flag_values=FLAGS)
flags.DEFINE_string("steps", None, "Short for the setting `steps`, or `training.steps`.", flag_values=FLAGS)
flags.DEFINE_bool("print_config", False, "Print every value and where it was set, and stop.", flag_values=FLAGS)
flags.DEFINE_bool("print_history", False, "The same with the values that were replaced.", flag_values=FLAGS)
flags.DEFINE_bool("fdl_help", False, "Print what can be set here: type, value, what it is.", flag_values=FLAGS)
flags.DEFINE_bool("dry_run", False, "Compose everything, print it with its sizes, and stop.", flag_values=FLAGS)
flags.DEFINE_string("run_folder", None, "Where to write; runs/<experiment>/<time> when not given.", flag_values=FLAGS)
flags.DEFINE_bool("help", False, "Print this and stop.", short_name="h", flag_values=FLAGS)

USAGE = "python launch.py --fdl_config=experiments/quickstart.py [path=value ...] [--dry_run]"
SHORT = {"checkpoint": ("checkpoint",), "steps": ("steps", "training.steps")}
"""Flags that are settings, and the paths that each may mean."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Mistakes of the user's are one message on standard error."""
    arguments = sys.argv if arguments is None else arguments
    try:
        launch(_parse(arguments), arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0


def _parse(arguments: list[str]) -> flags.FlagValues:
    FLAGS.unparse_flags()
    for flag in FLAGS:
        FLAGS[flag].unparse()
    try:
        rest = FLAGS(arguments)[1:]
    except (flags.Error, ValueError) as error:  # absl's own ValueError: --nodry_run=x
        raise UserError(f"{error}. Flags: {', '.join(f'--{name}' for name in FLAGS)}. See --help.") from error
    if FLAGS.help:
        print(f"{USAGE}\n\n{FLAGS.get_help()}")
        raise SystemExit(0)
    if FLAGS.fdl_diff:
        if len(rest) != 1:
            raise UserError("Two things are compared: --fdl_diff=A B, each an experiment or a run's config.json.")
        FLAGS.fdl_config, FLAGS.fdl_set = rest[0], []
        return FLAGS
    for word in rest:
        if "=" not in word:
            raise UserError(f"'{word}' is no flag and no setting. Settings are written path=value.")
    if FLAGS.fdl_config and FLAGS.fdl_config_file:
        raise UserError("Give an experiment (--fdl_config) or a record (--fdl_config_file), not both.")
    FLAGS.fdl_config = FLAGS.fdl_config or FLAGS.fdl_config_file
    if not FLAGS.fdl_config:
        raise UserError(f"No experiment is named. For example: {USAGE}")
    FLAGS.fdl_set = [*FLAGS.fdl_set, *rest]
    return FLAGS


def launch(options: flags.FlagValues, arguments: list[str]) -> None:
    """Compose the run, and print or execute it."""
    from ..record import build  # the runs and Fiddle are imported here: --help need not wait for them
    from ..runs.base import Run, Workspace
    from .config import node_of
    from .experiment import load, name_of_run
    from .provenance import record_of
    from .show import difference, history_of, resolved, settable

    if options.fdl_diff:
        print(difference(load(options.fdl_diff), load(options.fdl_config)))
        return
    config = _configured(options)
    if options.fdl_help or options.print_config or options.print_history:
        show = settable if options.fdl_help else history_of if options.print_history else resolved
        print(show(config))
        return
    node = node_of(config)
    run = build(node)
    if not isinstance(run, Run):
        raise UserError(
            f"{options.fdl_config} configures a {type(run).__name__}, which is not a run (Train, Sample)."
        )
    description = run.describe()  # parts that do not fit each other are found here, before any data is read
    for warning in run.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    if options.dry_run:
        print(f"{resolved(config)}\n\n{description}")
        return
    name = name_of_run(options.fdl_config)
    folder = Path(options.run_folder or Path("runs") / name / time.strftime("%Y%m%d-%H%M%S"))
    run.execute(Workspace(folder, record_of(node, shlex.join(arguments)), resolved(config) + "\n"))


def _configured(options: flags.FlagValues) -> Any:
    """The experiment with all settings applied."""
    from .experiment import load, named_sizes
    from .settings import apply, first_known

    config = load(options.fdl_config)
    short = [
        f"{first_known(config, paths, f'--{flag}')}={options[flag].value}"
        for flag, paths in SHORT.items()
        if options[flag].value is not None
    ]
    for setting in [*short, *options.fdl_set]:
        for line in apply(config, setting, lambda stage: named_sizes(options.fdl_config, stage)):
            print(line)
    return config


def entry() -> None:
    """The program's entry: like `main`, ending the process with its exit code.

    Experiments below the current folder can import each other, wherever the program itself lies.
    """
    sys.path.append(str(Path.cwd()))
    sys.exit(main())
