"""SEDD uniform on text8: the published run in characters (Lou et al. 2024, section 5.1).

    python launch.py --fdl_config=experiments/text8_uniform.py

The process and the schedule of uniform_small; all else as in text8_absorb, its cost too.
Published: at most 1.47 bits a character (test part; autoregressive 1.23).
"""

import fiddle as fdl

from experiments.text8_absorb import config as text8_absorb
from experiments.uniform_small import config as uniform_small
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """uniform_small with the data and the length of text8_absorb."""
    run, text8 = uniform_small(), text8_absorb()
    run.data = text8.data
    run.training.steps = text8.training.steps
    run.training.microbatch = text8.training.microbatch
    return run
