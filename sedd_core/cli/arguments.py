"""What was typed: flags, and the settings among them."""

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
"""FILE.py, FILE.py:FUNCTION(argument=value) or a record, where a setting could stand."""


def parse_command_line(arguments: list[str]) -> flags.FlagValues:
    """The flags of a command line; bare settings are added to --fdl_set. UserError for what cannot be meant."""
    rest = _read(arguments)
    for text in [*arguments, *(str(FLAGS[flag].value) for flag in FLAGS)]:
        if "\0" in text:
            raise UserError(f"{text!r} contains a NUL character, which no path and no setting can contain.")
    if FLAGS.help:
        say(f"{USAGE}\n\n{FLAGS.get_help(include_special_flags=False)}")
        raise SystemExit(0)
    for flag in ("fdl_config", "fdl_config_file", "fdl_diff", "run_folder"):
        if FLAGS[flag].value is not None:  # a shell leaves the ~ of --flag=~/file
            FLAGS[flag].value = os.path.expanduser(str(FLAGS[flag].value))
    if FLAGS.fdl_diff is not None:
        _take_difference(rest)
        return FLAGS
    _take_words(rest)
    _take_target()
    return FLAGS


def _take_words(words: list[str]) -> None:
    """Words without dashes: settings, and the experiment or record, as if it stood behind --fdl_config."""
    for word in words:
        if EXPERIMENT.match(word) or Path(word, "config.json").is_file():
            if FLAGS.fdl_config or FLAGS.fdl_config_file:
                raise UserError(f"Two experiments are named: {FLAGS.fdl_config or FLAGS.fdl_config_file} and {word}.")
            FLAGS.fdl_config = _record_in(os.path.expanduser(word))
        elif "=" in word:
            FLAGS.fdl_set = [*FLAGS.fdl_set, word]
        else:
            files = [Path(f"{word}.py"), Path("experiments", f"{word}.py")]
            hint = next((f" Did you mean '{file}'?" for file in files if file.is_file()), "")
            raise UserError(
                f"'{word}' is not a flag, a setting or an experiment.{hint} Settings are written path=value; an "
                "experiment is a file: experiments/quickstart.py"
            )


def _read(arguments: list[str]) -> list[str]:
    """Set the flags anew. Returns the other words."""
    FLAGS.unparse_flags()
    for flag in FLAGS:
        FLAGS[flag].unparse()
    try:
        return FLAGS(arguments)[1:]
    except (flags.Error, ValueError) as error:  # absl's own ValueError: --nodry_run=x
        known, said = [f"--{name}" for name in FLAGS if name != "h"], f"{str(error).rstrip('.')}."
        if isinstance(error, flags.UnrecognizedFlagError):
            meant = _setting_for(error, arguments) or nearest(f"--{error.flagname}", known)
            said = f"There is no flag --{error.flagname}.{meant}"
        if isinstance(error, flags.IllegalFlagValueError):
            raise UserError(said[:1].upper() + said[1:]) from error
        raise UserError(f"{said} Flags: {', '.join(known)}. See --help.") from error


def _setting_for(error: flags.UnrecognizedFlagError, arguments: list[str]) -> str:
    """A hint at the setting that a flag which is none stands for: `optimizer.lr=1` for `--lr=1`."""
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
    return f" Settings have no dashes: {' or '.join(settings)}."


def _take_difference(rest: list[str]) -> None:
    """--fdl_diff=A B: A stays there, B becomes --fdl_config."""
    if len(rest) != 1 or FLAGS.fdl_config or FLAGS.fdl_config_file or FLAGS.fdl_set:
        raise UserError(
            "Two things are compared, as they are: --fdl_diff=A B, each an experiment or a run's config.json."
        )
    FLAGS.fdl_diff, FLAGS.fdl_config, FLAGS.fdl_set = _record_in(FLAGS.fdl_diff), _record_in(rest[0]), []


def _take_target() -> None:
    """Whatever names the experiment or the record becomes --fdl_config."""
    if FLAGS.fdl_config and FLAGS.fdl_config_file:
        raise UserError("Give an experiment (--fdl_config) or a record (--fdl_config_file), not both.")
    if FLAGS.fdl_config_file:
        FLAGS.fdl_config = _record_in(FLAGS.fdl_config_file)
        if not FLAGS.fdl_config.endswith(".json"):
            raise UserError(
                f"{FLAGS.fdl_config} is no record: --fdl_config_file takes a run's config.json or its folder, "
                "--fdl_config an experiment."
            )
    restarted = any(number_in(name, 0) for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))
    if restarted and FLAGS.run_folder is not None:
        FLAGS.resume = True  # and not from a step: it went on from there when it was started
    if FLAGS.resume and not FLAGS.run_folder:
        raise UserError("--resume continues the run in a folder, which is not named: add --run_folder=...")
    if FLAGS.resume and not FLAGS.fdl_config:
        FLAGS.fdl_config = _record_to_resume(str(FLAGS.run_folder))
    if not FLAGS.fdl_config:
        hint = f" To continue the run in {FLAGS.run_folder}: --resume." if FLAGS.run_folder else ""
        raise UserError(f"No experiment is named.{hint} For example: {USAGE}")


def step_to_resume(options: flags.FlagValues) -> int | None:
    """The step that --resume=STEP names."""
    return None if isinstance(options.resume, bool) else options.resume


def _record_to_resume(run_folder: str) -> str:
    """The record of the run in a folder, or of the checkpoint that --resume=STEP names. UserError for none."""
    if step_to_resume(FLAGS) is None:
        record = Path(run_folder) / "config.json"
        check_readable(record)
        if not record.exists():
            from .resume import check_not_of_a_sweep

            check_not_of_a_sweep(Path(run_folder))
            raise UserError(
                f"There is no run in {run_folder} (no config.json). Name the folder of a run, or an experiment to "
                "start there: --fdl_config=..."
            )
        return str(record)
    from .resume import record_in

    return str(record_in(Path(run_folder), FLAGS.resume))


def _record_in(path: str) -> str:
    """The record of a run's folder; any other path as it is."""
    record = Path(path) / "config.json"
    check_readable(record)
    return str(record) if record.is_file() else path


def changes_of(options: flags.FlagValues) -> Changes:
    """All that changes the experiment; of the settings, first the short flags, then --fdl_set, then bare ones."""
    from .compose import Changes
    from .experiment import load_config
    from .settings import first_known

    given = {flag: options[flag].value for flag in SHORT if options[flag].value is not None}
    config = load_config(options.fdl_config) if given else None
    texts = {flag: value if flag == "steps" else repr(value) for flag, value in given.items()}  # commas are no sweep
    short = [f"{first_known(config, SHORT[flag], f'--{flag}')}={text}" for flag, text in texts.items() if config]
    return Changes(options.fiddler, options.fdl_tags_set, [*short, *options.fdl_set], options.sweep)
