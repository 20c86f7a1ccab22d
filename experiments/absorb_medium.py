"""SEDD absorb, medium: the published run on OpenWebText (Lou et al. 2024, section 5).

    python launch.py --fdl_config=experiments/absorb_medium.py

424M parameters; all else as in absorb_small. Expected cost: 2.4 GFLOP a token, 5.1e20 FLOP, about 5 days of 8
A100-80GB at half of their peak.
Published zero-shot perplexity bounds: LAMBADA 42.77, WikiText-2 31.04, PTB 87.12, WikiText-103 29.98, 1BW 61.19.
"""

import fiddle as fdl

from experiments.absorb_small import config as absorb_small
from experiments.models import medium
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """absorb_small with a larger network, in smaller parts."""
    run = absorb_small()
    run.model = medium()
    run.training.microbatch = 16  # 80 GB: 50 GiB with every position in the loss
    return run
