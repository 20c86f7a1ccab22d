"""The command-line flags of `launch.py`."""

from __future__ import annotations

import re

from absl import flags


class _BoolOrStep(flags.ArgumentParser):  # pyright: ignore[reportMissingTypeArgument]
    """Parser of True, False, or the step of a checkpoint."""

    def parse(self, argument: object) -> bool | int:
        text = str(argument).lower()
        if text in ("true", "false"):
            return text == "true"
        if re.fullmatch("[0-9]{1,18}", text) and int(text) > 0:
            return int(text)
        raise ValueError("write --resume, or the step of a checkpoint: --resume=2500")


# Fiddle's own flags of these names take function names and accept wrong types silently, so they are not imported.
FLAGS = flags.FlagValues()
_STRINGS = {
    "fdl_config": "Experiment to run: FILE.py, FILE.py:FUNCTION or FILE.py:FUNCTION(argument=value).",
    "fdl_config_file": "Record to run again: a run's config.json or its folder.",
    "fdl_diff": "Comparison of two configs, --fdl_diff=A B; each is an experiment or a config.json.",
    "checkpoint": "Checkpoint to sample from (shorthand for the setting `checkpoint`; taken literally).",
    "checkpoint_format": "Format to read the checkpoint with, such as sedd (shorthand for the setting of this name; "
    "default: the one that matches).",
    "prefix": "Text at the start of each sample (shorthand for the setting `prefix`; taken literally).",
    "suffix": "Text at the end of each sample (shorthand for the setting `suffix`; taken literally).",
    "prompt": "Text with blanks to fill in (shorthand for the setting `prompt`; taken literally).",
    "steps": "Number of sampling steps, or of training updates (shorthand for the setting `steps` or "
    "`training.steps`).",
    "run_folder": "Output folder of the run; default: runs/<experiment>/<time>.",
    "slurm": "SLURM job options; submits the run as a job: 'partition=gpu, nodes=2, gpus=8, time=24:00:00'; also "
    "account, mem, cpus, constraint, requeue. --slurm= uses the cluster's defaults.",
}
_LISTS = {  # without a final period: absl appends "; repeat this option to specify a list of values"
    "fdl_set": "Setting as path=value or stage=variant; several values, path=a,b, make a sweep",
    "fdl_tags_set": "Value for all settings with a tag: Seed=1",
    "fiddler": "Function of the experiment's file that modifies the config: NAME or NAME(x=1)",
}
_BOOLS = {
    "trust": "Trust records that name classes of an experiment's file: that file is imported and executed.",
    "print_config": "Print every value and where it was set, then exit.",
    "print_history": "Print every value, where it was set and the values that it replaced, then exit.",
    "fdl_help": "Print every setting with its value, type, default and description, then exit.",
    "dry_run": "Build the run, print its settings, sizes and memory estimate, then exit.",
    "no_checks": "Skip the contract checks of noise, graph and sampler.",
    "allow_changes": "Resume even if changed settings alter what the run learns.",
}
for name, text in _STRINGS.items():
    flags.DEFINE_string(name, None, text, flag_values=FLAGS)
for name, text in _LISTS.items():
    flags.DEFINE_multi_string(name, [], text, flag_values=FLAGS)
for name, text in _BOOLS.items():
    flags.DEFINE_bool(name, False, text, flag_values=FLAGS)
flags.DEFINE_bool("help", False, "Print this help, then exit.", short_name="h", flag_values=FLAGS)
flags.DEFINE_string(
    "sweep",
    "",
    "Function of the experiment's file that returns the points of a sweep: NAME or NAME(x=1).",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "trajectory",
    None,
    "Record and show every state of the sampler (shorthand for the setting `trajectory`).",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_restarts",
    0,
    "Maximum number of restarts of all processes after one fails.",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_flag(
    flags.Flag(
        parser=_BoolOrStep(),
        serializer=None,
        name="resume",
        default=False,
        help_string="Resume the run in --run_folder, or start it if the folder has none. --resume=STEP resumes from "
        "the checkpoint of that step; later checkpoints are moved to checkpoints/superseded/.",
        boolean=True,
    ),
    flag_values=FLAGS,
)

SHORT: dict[str, tuple[str, ...]] = {
    name: (name,) for name in ("checkpoint", "checkpoint_format", "prefix", "suffix", "prompt", "trajectory")
}
SHORT["steps"] = ("steps", "training.steps")
"""Flags that are shorthands for settings, each with the paths that it can stand for; the first known one is set."""
