"""Parsing of the command line: flags, settings, and the experiment or record to run."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ..console import say
from ..distributed.rank import number_in
from ..errors import UserError, nearest
from ..files import check_readable
from .flags import FLAGS, SHORT

if TYPE_CHECKING:
    from .compose import Changes

USAGE = "python launch.py --fdl_config=experiments/quickstart.py [path=value ...] [--dry_run]"
EXPERIMENT = re.compile(r"[^=]+\.(py(:|$)|json$)")
"""Word that names an experiment or a record rather than a setting: FILE.py, FILE.py:FUNCTION(...), FILE.json."""


def parse_command_line(arguments: list[str]) -> flags.FlagValues:
    """Parse a command line; `path=value` without dashes is added to --fdl_set.

    Args:
        arguments: Program name and arguments.

    Returns:
        The parsed flags; `fdl_config` names the experiment or record.

    Raises:
        UserError: A flag or a word is unknown, or flags contradict each other.
        SystemExit: --help was given; the help is printed.
    """
    rest = _parse_flags(arguments)
    for text in [*arguments, *(str(FLAGS[flag].value) for flag in FLAGS)]:
        if "\0" in text:
            raise UserError(f"{text!r} contains a NUL character, which is invalid in paths and settings.")
    if FLAGS.help:
        say(f"{USAGE}\n\n{FLAGS.get_help(include_special_flags=False)}")
        raise SystemExit(0)
    for flag in ("fdl_config", "fdl_config_file", "fdl_diff", "run_folder"):
        if FLAGS[flag].value is not None:  # shells do not expand the ~ of --flag=~/file
            FLAGS[flag].value = os.path.expanduser(str(FLAGS[flag].value))
    if FLAGS.fdl_diff is not None:
        _set_difference(rest)
        return FLAGS
    _add_words(rest)
    _set_target()
    return FLAGS


def _add_words(words: list[str]) -> None:
    """Add words without dashes: settings to --fdl_set, an experiment or record to --fdl_config."""
    for word in words:
        if EXPERIMENT.match(word) or Path(word, "config.json").is_file():
            if FLAGS.fdl_config or FLAGS.fdl_config_file:
                first = FLAGS.fdl_config or FLAGS.fdl_config_file
                raise UserError(f"Two experiments are given, {first} and {word}. Give one.")
            FLAGS.fdl_config = _record_in(os.path.expanduser(word))
        elif "=" in word:
            FLAGS.fdl_set = [*FLAGS.fdl_set, word]
        else:
            files = [Path(f"{word}.py"), Path("experiments", f"{word}.py")]
            hint = next((f" Did you mean '{file}'?" for file in files if file.is_file()), "")
            raise UserError(
                f"'{word}' is not a flag, a setting or an experiment.{hint} Write a setting as path=value, an "
                "experiment as its file: experiments/quickstart.py"
            )


def _parse_flags(arguments: list[str]) -> list[str]:
    """Reset and parse the flags. Returns the remaining words."""
    FLAGS.unparse_flags()
    for flag in FLAGS:
        FLAGS[flag].unparse()
    try:
        return FLAGS(arguments)[1:]
    except (flags.Error, ValueError) as error:  # absl's own ValueError: --nodry_run=x
        known, message = [f"--{name}" for name in FLAGS if name != "h"], f"{str(error).rstrip('.')}."
        if isinstance(error, flags.UnrecognizedFlagError):
            hint = _setting_for(error, arguments) or nearest(f"--{error.flagname}", known)
            message = f"Unknown flag --{error.flagname}.{hint}"
        if isinstance(error, flags.IllegalFlagValueError):
            raise UserError(message[:1].upper() + message[1:]) from error
        raise UserError(f"{message} Flags: {', '.join(known)}. See --help.") from error


def _setting_for(error: flags.UnrecognizedFlagError, arguments: list[str]) -> str:
    """A hint at the setting that an unknown flag stands for: `optimizer.lr=1` for `--lr=1`; "" for none."""
    from .experiment import load_config
    from .hints import suggestions

    name, equals, value = error.flagvalue.lstrip("-").partition("=")
    paths: list[str] = []
    with suppress(UserError, flags.Error):
        FLAGS([word for word in arguments if not word.lstrip("-").startswith(name)], known_only=True)
        experiments = [word for word in arguments[1:] if EXPERIMENT.match(word) and not word.startswith("-")]
        target = next(iter([*filter(None, [FLAGS.fdl_config]), *experiments]), None)
        paths = suggestions(load_config(os.path.expanduser(target)), name) if target else []
    if not paths and not equals:
        return ""
    settings = [f"{path}={value or 'VALUE'}" for path in paths or [name]]
    return f" Write settings without dashes: {' or '.join(settings)}."


def _set_difference(rest: list[str]) -> None:
    """Set --fdl_diff and --fdl_config to the A and B of --fdl_diff=A B."""
    if len(rest) != 1 or FLAGS.fdl_config or FLAGS.fdl_config_file or FLAGS.fdl_set:
        raise UserError(
            "--fdl_diff compares two configs without further settings: --fdl_diff=A B, where A and B are each an "
            "experiment or a run's config.json."
        )
    FLAGS.fdl_diff, FLAGS.fdl_config, FLAGS.fdl_set = _record_in(FLAGS.fdl_diff), _record_in(rest[0]), []


def _set_target() -> None:
    """Set --fdl_config to the experiment or record, however it is given."""
    if FLAGS.fdl_config and FLAGS.fdl_config_file:
        raise UserError("Give an experiment (--fdl_config) or a record (--fdl_config_file), not both.")
    if FLAGS.fdl_config_file:
        FLAGS.fdl_config = _record_in(FLAGS.fdl_config_file)
        if not FLAGS.fdl_config.endswith(".json"):
            raise UserError(
                f"{FLAGS.fdl_config} is not a record: --fdl_config_file takes a run's config.json or its folder, "
                "--fdl_config an experiment."
            )
    restarted = any(number_in(name, 0) for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))
    if restarted and FLAGS.run_folder is not None:
        FLAGS.resume = True  # from the newest checkpoint: the first start has gone back to STEP already
    if FLAGS.resume and not FLAGS.run_folder:
        raise UserError("--resume needs the folder of the run to continue: add --run_folder=...")
    if FLAGS.resume and not FLAGS.fdl_config:
        FLAGS.fdl_config = _record_to_resume(str(FLAGS.run_folder))
    if not FLAGS.fdl_config:
        hint = f" To continue the run in {FLAGS.run_folder}: --resume." if FLAGS.run_folder else ""
        raise UserError(f"No experiment is given.{hint} Usage: {USAGE}")


def step_to_resume(options: flags.FlagValues) -> int | None:
    """The step of --resume=STEP; None without one."""
    return None if isinstance(options.resume, bool) else options.resume


def _record_to_resume(run_folder: str) -> str:
    """The record of the run in a folder, or of the checkpoint of --resume=STEP. UserError where it is missing."""
    if step_to_resume(FLAGS) is None:
        record = Path(run_folder) / "config.json"
        check_readable(record)
        if not record.exists():
            from .resume import check_not_of_a_sweep

            check_not_of_a_sweep(Path(run_folder))
            raise UserError(
                f"{run_folder} does not contain a run (no config.json). Give the folder of a run, or an experiment "
                "to start there: --fdl_config=..."
            )
        return str(record)
    from .resume import record_in

    return str(record_in(Path(run_folder), FLAGS.resume))


def _record_in(path: str) -> str:
    """The record in a run's folder; any other path unchanged."""
    record = Path(path) / "config.json"
    check_readable(record)
    return str(record) if record.is_file() else path


def changes_of(options: flags.FlagValues) -> Changes:
    """The changes to the experiment. Settings apply in this order: short flags, --fdl_set, bare settings.

    Args:
        options: Parsed flags.

    Raises:
        UserError: The experiment cannot be loaded, or does not have the setting of a short flag.
    """
    from .compose import Changes
    from .experiment import load_config
    from .settings import first_known

    given = {flag: options[flag].value for flag in SHORT if options[flag].value is not None}
    config = load_config(options.fdl_config) if given else None
    # quoted: commas in these texts do not start a sweep
    texts = {flag: value if flag == "steps" else repr(value) for flag, value in given.items()}
    short = [f"{first_known(config, SHORT[flag], f'--{flag}')}={text}" for flag, text in texts.items() if config]
    return Changes(options.fiddler, options.fdl_tags_set, [*short, *options.fdl_set], options.sweep)
