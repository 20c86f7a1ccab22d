"""SEDD uniform on text8: the published character-level run (Lou et al. 2024, section 5.1).

    python launch.py --fdl_config=experiments/text8_uniform.py

The graph and noise schedule of uniform_small; otherwise identical to text8_absorb, with the same cost.
Published: at most 1.47 bits per character (test split; autoregressive 1.23).
"""

import fiddle as fdl

from experiments.text8_absorb import config as text8_absorb
from experiments.uniform_small import config as uniform_small
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """Config of uniform_small with the data, number of updates and microbatch of text8_absorb."""
    run, text8 = uniform_small(), text8_absorb()
    run.data = text8.data
    run.training.steps = text8.training.steps
    run.training.microbatch = text8.training.microbatch
    return run
