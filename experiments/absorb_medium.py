"""SEDD absorb, medium: the published run on OpenWebText (Lou et al. 2024, section 5).

    python launch.py --fdl_config=experiments/absorb_medium.py

424M parameters; otherwise identical to absorb_small. Expected cost: 2.3 GFLOP per token, 4.7e20 FLOP in total, about
5.5 days on 8 A100-80GB at 40% of peak.
Published zero-shot perplexity bounds: LAMBADA 42.77, WikiText-2 31.04, PTB 87.12, WikiText-103 29.98, 1BW 61.19.
"""

import fiddle as fdl

from experiments.absorb_small import config as absorb_small
from experiments.models import medium
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """Config of absorb_small with the medium network and smaller microbatches."""
    run = absorb_small()
    run.model = medium()
    run.training.microbatch = 16  # peak memory with every position in the loss: 32 GiB per GPU
    return run
