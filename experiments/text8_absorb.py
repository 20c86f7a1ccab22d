"""SEDD absorb on text8: the published character-level run (Lou et al. 2024, section 5.1).

    python launch.py --fdl_config=experiments/text8_absorb.py
    python launch.py --fdl_config=experiments/text8_absorb.py data.path=text8.zip     # without the hub

The network of absorb_small with 28 states (92M parameters), 1M updates of 512 sequences of 256 characters (1.3e11
characters). Expected cost: 0.54 GFLOP per character, 7e19 FLOP in total, about 20 hours on 8 A100-80GB at 40% of
peak. Settings that the paper does not state (dropout, weight averaging) are those of OpenWebText.
Published: at most 1.39 bits per character (test split; autoregressive 1.23).
"""

import fiddle as fdl

from experiments.absorb_small import config as absorb_small
from sedd_core.cli import stage
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """Config of absorb_small with other data and more updates."""
    run = absorb_small()
    run.data = stage("data_text8", length=256)
    run.training.steps = 1_000_000
    run.training.microbatch = 256
    return run
