"""SEDD uniform, medium: the published run on OpenWebText (Lou et al. 2024, section 5).

    python launch.py --fdl_config=experiments/uniform_medium.py

The network of absorb_medium with the graph and noise schedule of uniform_small; the head runs at
all positions. Expected cost: 2.4 GFLOP per token, 5.1e20 FLOP in total, about 5.9 days on 8 A100-80GB at 40% of peak.
Published zero-shot perplexity bounds: LAMBADA 51.28, WikiText-2 38.93, PTB 102.28, WikiText-103 36.81, 1BW 79.12.
"""

import fiddle as fdl

from experiments.models import medium
from experiments.uniform_small import config as uniform_small
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """Config of uniform_small with the medium network and smaller microbatches."""
    run = uniform_small()
    run.model = medium()
    run.training.microbatch = 16  # peak memory with every position in the loss: 32 GiB per GPU
    return run
