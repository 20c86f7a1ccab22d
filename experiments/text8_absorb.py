"""SEDD absorb on text8: the published run in characters (Lou et al. 2024, section 5.1).

    python launch.py --fdl_config=experiments/text8_absorb.py
    python launch.py --fdl_config=experiments/text8_absorb.py data.path=text8.zip     # without the hub

The network of absorb_small at 28 states (92M parameters), 1M updates of 512 sequences of 256 characters (1.3e11 of
them). Expected cost: 0.54 GFLOP a character, 7e19 FLOP in all, about 16 hours of 8 A100-80GB at half of their peak.
What the paper leaves unsaid (dropout, average) is as on OpenWebText.
Published: at most 1.39 bits a character (test part; autoregressive 1.23).
"""

import fiddle as fdl

from experiments.absorb_small import config as absorb_small
from sedd_core.cli import stage
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """absorb_small with other data, for longer."""
    run = absorb_small()
    run.data = stage("data_text8", length=256)
    run.training.steps = 1_000_000
    run.training.microbatch = 256
    return run
