"""The flags of `launch.py`."""

from __future__ import annotations

import re

from absl import flags


class _Step(flags.ArgumentParser):  # pyright: ignore[reportMissingTypeArgument]
    """True, False, or the step of a checkpoint."""

    def parse(self, argument: object) -> bool | int:
        text = str(argument).lower()
        if text in ("true", "false"):
            return text == "true"
        if re.fullmatch("[0-9]{1,18}", text) and int(text) > 0:
            return int(text)
        raise ValueError("write --resume, or the step of a checkpoint: --resume=2500")


# Fiddle's own flags of these names mean function names and take wrong types silently, so they are not imported.
FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "fdl_config",
    None,
    "The experiment: FILE.py, FILE.py:FUNCTION or FILE.py:FUNCTION(argument=value).",
    flag_values=FLAGS,
)
flags.DEFINE_string("fdl_config_file", None, "A run's config.json or folder, to run again.", flag_values=FLAGS)
flags.DEFINE_string("fdl_diff", None, "Compare --fdl_diff=A with B: experiments or config.json.", flag_values=FLAGS)
flags.DEFINE_multi_string(
    "fdl_set", [], "A setting, path=value or stage=variant; many times. path=a,b makes a sweep.", flag_values=FLAGS
)
flags.DEFINE_multi_string(
    "fdl_tags_set", [], "A value for all settings of a kind: Seed=1; many times.", flag_values=FLAGS
)
flags.DEFINE_multi_string(
    "fiddler",
    [],
    "A function of the experiment's file that changes the config: NAME or NAME(x=1).",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "sweep",
    "",
    "A function of the experiment's file that gives a sweep's points: NAME or NAME(x=1).",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "trust", False, "Let a record name classes of an experiment's file, and run that file.", flag_values=FLAGS
)
for name in ("checkpoint", "prefix", "suffix", "prompt"):
    flags.DEFINE_string(name, None, f"Short for the setting `{name}`, the text as it is.", flag_values=FLAGS)
flags.DEFINE_bool("trajectory", None, "Short for the setting `trajectory`.", flag_values=FLAGS)
flags.DEFINE_string("steps", None, "Short for the setting `steps`, or `training.steps`.", flag_values=FLAGS)
flags.DEFINE_bool("print_config", False, "Print every value and where it was set, and stop.", flag_values=FLAGS)
flags.DEFINE_bool("print_history", False, "The same with the values that were replaced.", flag_values=FLAGS)
flags.DEFINE_bool("fdl_help", False, "Print what can be set here: type, value, what it is.", flag_values=FLAGS)
flags.DEFINE_bool("dry_run", False, "Compose everything, print it with its sizes, and stop.", flag_values=FLAGS)
flags.DEFINE_bool(
    "no_checks", False, "Leave out the checks of noise, graph and sampler against their contracts.", flag_values=FLAGS
)
flags.DEFINE_string("run_folder", None, "Where to write; runs/<experiment>/<time> when not given.", flag_values=FLAGS)
flags.DEFINE_flag(
    flags.Flag(
        parser=_Step(),
        serializer=None,
        name="resume",
        default=False,
        help_string="Continue the run in --run_folder, or start it if need be. --resume=STEP: from the checkpoint of "
        "that step; later ones are set aside, in checkpoints/superseded/.",
        boolean=True,
    ),
    flag_values=FLAGS,
)
flags.DEFINE_bool("allow_changes", False, "Continue even with settings that make it another run.", flag_values=FLAGS)
flags.DEFINE_integer(
    "max_restarts", 0, "Start all processes again, so often, when one fails.", lower_bound=0, flag_values=FLAGS
)
flags.DEFINE_string(
    "slurm",
    None,
    "Submit it as a job: 'partition=gpu, nodes=2, gpus=8, time=24:00:00'; also account, mem, cpus, constraint, "
    "requeue. --slurm= takes the cluster's defaults.",
    flag_values=FLAGS,
)
flags.DEFINE_bool("help", False, "Print this and stop.", short_name="h", flag_values=FLAGS)

SHORT: dict[str, tuple[str, ...]] = {
    name: (name,) for name in ("checkpoint", "prefix", "suffix", "prompt", "trajectory")
}
SHORT["steps"] = ("steps", "training.steps")
"""Flags that are settings, and the paths that each may mean."""
