"""SEDD uniform, medium: the published run on OpenWebText (Lou et al. 2024, section 5).

    python launch.py --fdl_config=experiments/uniform_medium.py

The network of absorb_medium on the process of uniform_small; the cost of absorb_medium.
Published zero-shot perplexity bounds: LAMBADA 51.28, WikiText-2 38.93, PTB 102.28, WikiText-103 36.81, 1BW 79.12.
"""

import fiddle as fdl

from experiments.models import medium
from experiments.uniform_small import config as uniform_small
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """uniform_small with a larger network, in smaller parts."""
    run = uniform_small()
    run.model = medium()
    run.training.microbatch = 16  # 80 GB: 50 GiB with every position in the loss
    return run
